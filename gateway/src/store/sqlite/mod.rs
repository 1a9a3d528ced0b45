//! What is kept, over SQLite.
