//! Tests of whole pages.

mod markup_check;
mod page;
