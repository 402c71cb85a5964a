"""Results and states for MES and dashboards, over paho-mqtt."""
