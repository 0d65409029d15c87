"""DVC as it is run: stages side by side, on one machine or on many, and what they left behind."""
