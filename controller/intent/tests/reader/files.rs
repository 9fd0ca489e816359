//! Files and folders.

use std::fs;
use std::path::{Path, PathBuf};

use outplane_intent::reader::{Code, Diagnostic, Limits, Severity, load, load_within};

/// A folder with these files, removed when dropped.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn group(name: &str) -> String {
    format!("{{apiVersion: outplane.dev/v1alpha1, kind: AddressGroup, metadata: {{name: {name}}}}}")
}

fn loaded_groups(paths: &[PathBuf]) -> Vec<String> {
    match load(paths) {
        Ok(loaded) => loaded.intent.groups.into_keys().collect(),
        Err(diagnostics) => panic!("{}", diagnostics.render(false)),
    }
}

#[test]
fn folders_are_read_with_their_folders() {
    let broken = "{";
    let folder = folder(&[
        ("b.yaml", &group("b")),
        ("a.yml", &group("a")),
        (
            "sub/deep/c.json",
            r#"{"apiVersion": "outplane.dev/v1alpha1", "kind": "AddressGroup", "metadata": {"name": "c"}}"#,
        ),
        ("README.md", broken),
        ("notes.yaml.bak", broken),
        (".hidden.yaml", broken),
        (".git/config.yaml", broken),
    ]);
    #[cfg(unix)]
    {
        // As a mounted ConfigMap has them: files behind links, and a folder behind a link with the same files.
        fs::create_dir(folder.path().join("..data")).unwrap();
        fs::write(folder.path().join("..data/d.yaml"), group("d")).unwrap();
        std::os::unix::fs::symlink("..data/d.yaml", folder.path().join("d.yaml")).unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    }
    let expected: &[&str] = if cfg!(unix) { &["a", "b", "c", "d"] } else { &["a", "b", "c"] };
    let path = folder.path().to_owned();
    assert_eq!(loaded_groups(std::slice::from_ref(&path)), expected);
    // Files that several paths lead to are read once; files that are named are read whatever they are called.
    fs::write(path.join("plain"), group("e")).unwrap();
    let twice = [path.clone(), path.join("b.yaml"), path.join("sub/../b.yaml"), path.join("plain")];
    assert_eq!(loaded_groups(&twice), [expected, &["e"]].concat());
    // A folder whose files are all known is not one without files.
    let loaded = load(&[path.clone(), path.join("sub"), path.join("sub/..")]).unwrap();
    let of_files = |warning: &Diagnostic| warning.code() == Code::File;
    assert!(!loaded.warnings.iter().any(of_files));
    let loaded = load(std::slice::from_ref(&path)).unwrap();
    let names: Vec<&str> = loaded.sources.files().iter().map(|file| file.name()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    let place = loaded.sources.object("AddressGroup/b").unwrap();
    assert_eq!(Path::new(&place.file), path.join("b.yaml"));
}

#[test]
fn paths_that_are_not_there() {
    let folder = folder(&[("good.yaml", &group("a")), ("utf16.yaml", ""), ("latin1.yaml", "")]);
    fs::write(folder.path().join("utf16.yaml"), b"\xff\xfea\0\n\0\0\xd8b\0").unwrap();
    fs::write(folder.path().join("latin1.yaml"), b"# ok\na: \xe4").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let gone = folder.path().join("gone.yaml");
    let diagnostics = load(&[gone.clone(), folder.path().to_owned()]).unwrap_err();
    let codes: Vec<Code> = diagnostics.errors().iter().map(Diagnostic::code).collect();
    assert_eq!(codes, [Code::File, Code::Encoding, Code::Encoding]);
    assert_eq!(diagnostics.errors()[0].file(), gone.to_str());
    assert!(
        diagnostics.errors()[1]
            .message()
            .ends_with("latin1.yaml is not UTF-8: line 2 has a byte that belongs to no character")
    );
    assert!(
        diagnostics.errors()[2]
            .message()
            .ends_with("utf16.yaml is not UTF-16: line 2 has a byte that belongs to no character")
    );

    let loaded = load(&[folder.path().join("empty"), folder.path().join("good.yaml")]).unwrap();
    assert_eq!(loaded.warnings[0].severity(), Severity::Warning);
    assert_eq!(loaded.warnings[0].code(), Code::File);
    assert!(load(&[]).unwrap().warnings.is_empty());
}

/// YAML 1.2.2, section 5.2: UTF-8, UTF-16 and UTF-32, with and without a byte order mark.
#[test]
fn every_encoding_of_yaml() {
    let text = "apiVersion: v1\r\nkind: Namespace\r\nmetadata:\r\n  name: shop\r\n  note: ü𐍈\r\n";
    let wide = |text: &str, unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let wider = |text: &str, unit: fn(u32) -> [u8; 4]| text.chars().map(u32::from).flat_map(unit).collect();
    let encodings = |text: &str| -> [Vec<u8>; 5] {
        [
            text.as_bytes().to_vec(),
            wide(text, u16::to_be_bytes),
            wide(text, u16::to_le_bytes),
            wider(text, u32::to_be_bytes),
            wider(text, u32::to_le_bytes),
        ]
    };
    for mark in ["", "\u{feff}"] {
        for (number, bytes) in encodings(&format!("{mark}{text}")).into_iter().enumerate() {
            let folder = folder(&[("a.yaml", "")]);
            let path = folder.path().join("a.yaml");
            fs::write(&path, bytes).unwrap();
            let loaded = load(std::slice::from_ref(&path)).unwrap();
            assert!(loaded.intent.namespaces.contains_key("shop"), "{number} {mark:?}");
            let place = loaded.sources.object("Namespace/shop").unwrap();
            assert_eq!((place.line, place.column), (4, 9), "{number} {mark:?}");
        }
    }
}

/// Each of several files that were joined may bring its mark.
#[test]
fn byte_order_marks_between_documents() {
    let one =
        |name: &str| format!("\u{feff}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    let loaded = outplane_intent::reader::parse([("a.yaml", one("a") + &one("b"))]).unwrap();
    assert_eq!(loaded.intent.namespaces.keys().collect::<Vec<_>>(), ["a", "b"]);
    let inside = one("a").replace("kind", "\u{feff}kind");
    assert!(outplane_intent::reader::parse([("a.yaml", inside)]).is_err());
}

/// What a file that cannot be read may have declared is not missed as well.
#[test]
fn unreadable_files_make_no_unknown_names() {
    let policy = "
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: p}
spec: {rules: [{action: deny, from: [{group: a}]}]}
";
    for broken in ["{", "a: [", "\0"] {
        let folder = folder(&[("groups.yaml", broken), ("policy.yaml", policy)]);
        let diagnostics = load(&[folder.path().to_owned()]).unwrap_err();
        assert_eq!(diagnostics.errors().len(), 1, "{}", diagnostics.render(false));
        assert!(diagnostics.errors()[0].file().unwrap().ends_with("groups.yaml"));
    }
}

#[test]
fn files_are_bounded() {
    let folder = folder(&[("a.yaml", &group("a")), ("b/b.yaml", &group("b")), ("b/c/c.yaml", &group("c"))]);
    let path = [folder.path().to_owned()];
    let size = group("a").len();
    let limits =
        Limits { files: 3, folder_depth: 3, file_bytes: size, total_bytes: 3 * size, ..Limits::default() };
    assert!(load_within(&path, &limits).is_ok());
    for limits in [
        Limits { files: 2, ..limits },
        Limits { folder_depth: 2, ..limits },
        Limits { file_bytes: size - 1, ..limits },
        Limits { total_bytes: 3 * size - 1, ..limits },
    ] {
        let diagnostics = load_within(&path, &limits).unwrap_err();
        assert_eq!(diagnostics.errors()[0].code(), Code::Limit, "{limits:?}");
    }
}

#[test]
fn messages_name_both_files() {
    let folder = folder(&[("a.yaml", &group("x")), ("b.yaml", &format!("\n\n{}", group("x")))]);
    let diagnostics = load(&[folder.path().to_owned()]).unwrap_err();
    let error = &diagnostics.errors()[0];
    assert_eq!((error.line(), error.column()), (Some(3), Some(74)));
    let other = error.related_places()[0].location();
    assert_eq!((Path::new(&other.file), other.line), (folder.path().join("a.yaml").as_path(), 1));
    let shown = error.render(false);
    assert!(shown.contains(&format!("first here: {other}")), "{shown}");

    let json = serde_json::to_value(error).unwrap();
    assert_eq!(json["severity"], "error");
    assert_eq!(json["code"], "duplicate-name");
    assert_eq!(json["object"], "AddressGroup/x");
    assert_eq!(json["message"], "this name is there twice");
    assert_eq!((&json["line"], &json["column"]), (&3.into(), &74.into()));
    assert_eq!(json["related"][0]["file"], other.file);
    assert_eq!(json["related"][0]["message"], "first here");
    assert!(json["help"].is_string() && json["file"].is_string());
}
