"""Model precisions: how fp16, int8 and int8_fp16 files are made from the fp32 graph, and which layers stay in float."""
