//! The declared file: TOML or JSON, told apart by the name's extension. `docs/declared-file.md` describes it.
//!
//! Everything that is wrong is said, each with its line; a file with anything wrong in it declares nothing.

mod build;
mod problem;
mod rows;
mod tree;

pub use problem::{FileError, Problem};

use super::Declared;
use problem::Problems;

/// Of the file's shape. Another one is refused.
pub const VERSION: i64 = 1;

/// `name` is what errors call the file.
pub fn parse(name: &str, text: &str) -> Result<Declared, FileError> {
    let mut problems = Problems::of(name, text);
    let declared = match tree::parse(name, text, &mut problems) {
        Some(tree) => build::build(&tree, &mut problems),
        None => Declared::default(),
    };
    problems.finish(declared)
}

#[cfg(test)]
mod tests;
