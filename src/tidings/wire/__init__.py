"""Values to bytes and back, both directions side by side. Pure, and the only place that makes bytes."""
