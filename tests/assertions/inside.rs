//! The examples of docs/inside.md, run.
