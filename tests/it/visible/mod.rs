//! Which files of a context a build reads, and which edits its key counts: larder must agree with the engine.

mod cases;
mod counted;
mod edit;
mod ignored;
mod named;
