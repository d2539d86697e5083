"""Interactive views: a Python and a .js file each, and the kit that they share. They compute nothing of the subject."""
