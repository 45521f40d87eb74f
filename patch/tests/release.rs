//! Which patches fit the release that runs, and what manifests are refused before anything runs.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use midflight_patch::{Digest, Error, Manifest, ModuleName, Release, Start};
use serde_json::{Value, json};
use support::manifests::{manifest, module, vsn};

fn running() -> Release {
    let mut release = manifest(
        None,
        "1",
        vec![module("counter", None, "1"), module("greeter", None, "1")],
    );
    release.listen = Some(vec![7001, 0]);
    Release::from_manifest(&release).unwrap()
}

#[test]
fn patches_follow_each_other_up_and_down() {
    let one = running();
    let two = one
        .apply(&manifest(
            Some("1"),
            "2",
            vec![module("counter", Some("1"), "2")],
        ))
        .unwrap();
    assert_eq!(two.modules["counter"].config, json!({"of": "2"}));
    // The greeter was left at 1 by the first patch, so that the next one starts there.
    let mut next = manifest(
        Some("2"),
        "3",
        vec![
            module("counter", Some("2"), "3"),
            module("greeter", Some("1"), "3"),
        ],
    );
    next.listen = Some(Vec::new());
    let three = two.apply(&next).unwrap();
    assert_eq!(three.vsn, vsn("3"));
    assert_eq!(three.modules["greeter"].vsn, vsn("3"));
    assert!(three.listen.is_empty());
    let down = two
        .apply(&manifest(
            Some("2"),
            "1",
            vec![module("counter", Some("2"), "1")],
        ))
        .unwrap();
    assert_eq!(down.digest().unwrap(), one.digest().unwrap());
    let text = serde_json::to_string(&three).unwrap();
    assert_eq!(serde_json::from_str::<Release>(&text).unwrap(), three);
}

#[test]
fn a_patch_that_does_not_fit_says_what_it_wants_and_what_runs() {
    let release = running();
    let refused = |manifest: Manifest| release.apply(&manifest).unwrap_err();
    let counter = || module("counter", Some("1"), "2");

    let error = refused(Manifest {
        name: "other".to_owned(),
        ..manifest(Some("1"), "2", vec![counter()])
    });
    assert_eq!(
        (error.code(), error.to_string()),
        (
            "MF0223",
            "the patch is for application other, but demo runs".into()
        )
    );
    let error = refused(manifest(Some("1.5"), "2", vec![counter()]));
    assert_eq!(
        (error.code(), error.to_string()),
        ("MF0224", "the patch of demo is from 1.5, but 1 runs".into())
    );
    let error = refused(manifest(Some("1"), "2", vec![module("pi", Some("1"), "2")]));
    assert_eq!(error.code(), "MF0225");
    assert_eq!(
        error.to_string(),
        "the patch of demo is about module pi, but release 1 has no such module"
    );
    let error = refused(manifest(
        Some("1"),
        "2",
        vec![module("counter", Some("0"), "2")],
    ));
    assert_eq!(error.code(), "MF0226");
    assert_eq!(
        error.to_string(),
        "the patch of demo changes module counter from 0, but 1 runs"
    );
    assert_eq!(
        refused(manifest(None, "2", vec![module("counter", None, "2")])).code(),
        "MF0222"
    );
    let patch = manifest(Some("1"), "2", vec![counter()]);
    assert_eq!(Release::from_manifest(&patch).unwrap_err().code(), "MF0222");
}

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    let good = || {
        manifest(
            None,
            "1",
            vec![module("a", None, "1"), module("b", None, "1")],
        )
    };
    let start = |name: &str, module: &str, count| Start {
        name: name.to_owned(),
        module: ModuleName::new(module).unwrap(),
        args: Value::Null,
        count,
        restart: Default::default(),
    };
    type Change<'a> = (&'a str, Box<dyn Fn(&mut Manifest) + 'a>);
    let changes: Vec<Change<'_>> = vec![
        ("/schema", Box::new(|m| m.schema = 2)),
        (
            "/world",
            Box::new(|m| m.world = "midflight:actor/gen-server@9.0.0".to_owned()),
        ),
        ("/name", Box::new(|m| m.name = "De mo".to_owned())),
        ("/modules", Box::new(|m| m.modules.clear())),
        ("/modules/1/name", Box::new(|m| m.modules.swap(0, 1))),
        (
            "/modules/0/from",
            Box::new(|m| m.from = Some(vsn("0").into())),
        ),
        (
            "/modules/1/from",
            Box::new(|m| m.modules[1].from = Some(vsn("0").into())),
        ),
        (
            "/modules/1/size",
            Box::new(|m| {
                m.modules[1].blob = m.modules[0].blob;
                m.modules[1].size = 99;
            }),
        ),
        (
            "/modules/1/extra/0",
            Box::new(|m| m.modules[1].extra = json!([0.5])),
        ),
        (
            "/start/0/module",
            Box::new(|m| m.start = vec![start("x", "c", 1)]),
        ),
        (
            "/start/0/count",
            Box::new(|m| m.start = vec![start("x", "a", 0)]),
        ),
        (
            "/start/0/count",
            Box::new(|m| m.start = vec![start("x", "a", 1_000_001)]),
        ),
        (
            "/start/1/name",
            Box::new(|m| m.start = vec![start("x", "a", 1), start("x", "b", 5)]),
        ),
        (
            "/start/0/name",
            Box::new(|m| m.start = vec![start("x.5", "a", 1), start("x", "b", 5)]),
        ),
        ("/listen/1", Box::new(|m| m.listen = Some(vec![80, 80]))),
    ];
    for (pointer, change) in changes {
        let mut manifest = good();
        manifest.check().unwrap();
        change(&mut manifest);
        let error = manifest
            .check()
            .and_then(|()| manifest.to_bytes())
            .unwrap_err();
        let Error::Manifest {
            pointer: at,
            problem,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(at.trim(), pointer, "{problem}");
    }
    for change in [
        |m: &mut Manifest| m.modules[0].size = (64 << 20) + 1,
        |m: &mut Manifest| m.listen = Some((0..257).collect()),
        |m: &mut Manifest| m.modules[0].extra = json!("x".repeat(1 << 20)),
    ] {
        let mut manifest = good();
        change(&mut manifest);
        assert_eq!(
            manifest
                .check()
                .and_then(|()| manifest.to_bytes())
                .unwrap_err()
                .code(),
            "MF0210"
        );
    }
}

#[test]
fn a_manifest_reads_back_from_its_canonical_bytes() {
    let manifest = manifest(Some("1"), "2", vec![module("counter", Some("1"), "2")]);
    let bytes = manifest.to_bytes().unwrap();
    assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
    assert_eq!(manifest.digest().unwrap(), Digest::of(&bytes));
    for length in 0..bytes.len() {
        Manifest::parse(&bytes[..length]).unwrap_err();
    }
}
