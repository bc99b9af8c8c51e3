"""What people read: `figures`, `brains` (maps on brains), `html` (a page) and `study` (the pages of a study)."""
