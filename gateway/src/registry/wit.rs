//! WIT types as text, to compare and to show.
