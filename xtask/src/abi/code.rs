//! The code of the contract: what is left of its files without comments, blank lines and tests, and the map definitions
//! of the programs, which say how each map is kept and which key has which value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::command::{command_in, output};

pub(super) const SOURCES: &str = "ebpf/abi/src";
const MAPS: [&str; 2] = ["ebpf/src/mactab.rs", "ebpf/src/maps.rs"];

pub(super) struct Code {
    pub(super) version: u32,
    /// By path from the root.
    pub(super) files: BTreeMap<String, String>,
}

impl Code {
    pub(super) fn of_tree(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, SOURCES, &mut files)?;
        for path in MAPS {
            let maps =
                fs::read_to_string(root.join(path)).with_context(|| format!("{path} cannot be read"))?;
            files.insert(path.to_owned(), map_lines(&maps));
        }
        Self::of(files).with_context(|| format!("{SOURCES} is not understood"))
    }

    pub(super) fn of_commit(root: &Path, commit: &str) -> Result<Self> {
        let git = |arguments: &[&str]| output(command_in(root, "git").args(arguments));
        let paths = git(&["ls-tree", "-r", "--name-only", commit, SOURCES])?;
        let files = paths.lines().filter(|path| is_code(path)).map(|path| {
            let text = git(&["show", &format!("{commit}:{path}")])?;
            Ok((path.to_owned(), code_lines(&text)))
        });
        let mut files = files.collect::<Result<BTreeMap<_, _>>>()?;
        for path in MAPS {
            files.insert(path.to_owned(), map_lines(&git(&["show", &format!("{commit}:{path}")])?));
        }
        Self::of(files).with_context(|| format!("{SOURCES} of {commit} is not understood"))
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

/// The definitions `static NAME: Type<Key, Value, ENTRIES> = …;`, on one line each as rustfmt leaves them or on many.
/// Programs beside them may change freely.
fn map_lines(text: &str) -> String {
    let code = code_lines(text);
    let mut definitions = String::new();
    let mut rest = code.lines();
    while let Some(line) = rest.by_ref().find(|line| *line == "#[btf_map]") {
        definitions.push_str(line);
        for line in rest.by_ref() {
            definitions.push(' ');
            definitions.push_str(line);
            if line.ends_with(';') {
                break;
            }
        }
        definitions.push('\n');
    }
    definitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_definitions_of_maps_are_code_of_the_programs() {
        let text = "static LICENSE: u8 = 1;\n#[btf_map]\n/// Which\nstatic A: Array<u8, 1> = Array::new();\n\
                    #[btf_map]\nstatic B: HashMap<Key, Value, 9> =\n    HashMap::new();\nfn f() {}\n";
        let expected = "#[btf_map] static A: Array<u8, 1> = Array::new();\n\
                        #[btf_map] static B: HashMap<Key, Value, 9> = HashMap::new();\n";
        assert_eq!(map_lines(text), expected);
    }

    #[test]
    fn comments_blank_lines_indentation_and_tests_are_no_code() {
        let text = "//! What\n\nstruct A {\n    /// Which\n    a: u8,\n}\n\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(code_lines(text), "struct A {\na: u8,\n}\n");
    }
}
