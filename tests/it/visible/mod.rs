//! Which files of a context a build reads, and which edits its key counts: larder must agree with the engine.

mod cases;
mod context_edits;
mod edit;
mod ignore_files;
mod named_context_edits;
