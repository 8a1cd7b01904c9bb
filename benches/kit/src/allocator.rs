//! The allocator of the program, so that what is measured in another process holds there.
//!
//! A bench makes it its own: `#[global_allocator] static ALLOCATOR: Allocator = Allocator;`.

pub use mimalloc::MiMalloc as Allocator;
