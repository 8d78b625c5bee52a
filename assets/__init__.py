"""The Dagster assets, one module per stage of the loop; nothing here does science."""
