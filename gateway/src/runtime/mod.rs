//! Guests: compiled, admitted, run within bounds.
