"""psutil -> samples: plain functions, one module for each part of a machine."""
