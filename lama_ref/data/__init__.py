"""Where pictures come from: procedural scenes, folders of photographs, weights."""
