"""Sets of pictures: what is read, checked, split, held at model size, and what the good ones say of themselves."""
