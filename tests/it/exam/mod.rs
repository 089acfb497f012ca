//! Drills, from outside.

mod life;
