"""Widgets that paint snapshots; none of them reads or writes anything."""
