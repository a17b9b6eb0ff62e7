"""Make the labels consistent: one label an item, duplicates grouped, splits that do not leak."""
