"""Areas by zone that agree: cells cut by borders exactly, areas as integers, tables that add up."""
