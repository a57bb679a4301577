//! The code of the contract: what is left of its files without comments, blank lines and tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::command::{command_in, output};

pub(super) const SOURCES: &str = "ebpf/abi/src";

pub(super) struct Code {
    pub(super) version: u32,
    /// By path from the root.
    pub(super) files: BTreeMap<String, String>,
}

impl Code {
    pub(super) fn of_tree(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, SOURCES, &mut files)?;
        Self::of(files).with_context(|| format!("{SOURCES} is not understood"))
    }

    pub(super) fn of_commit(root: &Path, commit: &str) -> Result<Self> {
        let git = |arguments: &[&str]| output(command_in(root, "git").args(arguments));
        let paths = git(&["ls-tree", "-r", "--name-only", commit, SOURCES])?;
        let files = paths.lines().filter(|path| is_code(path)).map(|path| {
            let text = git(&["show", &format!("{commit}:{path}")])?;
            Ok((path.to_owned(), code_lines(&text)))
        });
        Self::of(files.collect::<Result<_>>()?)
            .with_context(|| format!("{SOURCES} of {commit} is not understood"))
    }

    fn of(files: BTreeMap<String, String>) -> Result<Self> {
        let version = files
            .values()
            .flat_map(|code| code.lines())
            .find_map(|line| {
                line.strip_prefix("pub const ABI_VERSION: u32 = ")?.strip_suffix(';')?.parse().ok()
            })
            .context("no line `pub const ABI_VERSION: u32 = N;` was found")?;
        Ok(Self { version, files })
    }

    /// Those that are in only one of the two, too.
    pub(super) fn changed_files<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let paths: BTreeSet<_> = self.files.keys().chain(other.files.keys()).collect();
        let changed = |path: &&String| self.files.get(*path) != other.files.get(*path);
        paths.into_iter().filter(changed).map(String::as_str).collect()
    }
}

fn collect(root: &Path, folder: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("{folder} cannot be read"))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else if is_code(&path) {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("{path} cannot be read"))?;
            files.insert(path, code_lines(&text));
        }
    }
    Ok(())
}

fn is_code(path: &str) -> bool {
    let is_rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
    is_rust && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

/// Tests come last in a file.
fn code_lines(text: &str) -> String {
    let before_tests = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let code = before_tests.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_indentation_and_tests_are_no_code() {
        let text = "//! What\n\nstruct A {\n    /// Which\n    a: u8,\n}\n\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(code_lines(text), "struct A {\na: u8,\n}\n");
    }
}
