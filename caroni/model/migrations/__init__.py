"""The schema's history, applied in order by ``caroni db migrate``; a released file never changes."""
