//! What of a context a build sees, and what of that its key counts: the engine says, larder must agree.

mod cases;
mod counted;
mod edit;
mod ignored;
mod named;
