//! Bringing a patch to the node: nothing is stored or compiled before the signature is good, and what was cut off goes on.

use std::{fs, net::SocketAddr};

use midflight_proto::agent::v1::{self as pb, stage_request};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tonic::Code;

use crate::support::{
    Node, Order,
    bundles::{blob, patch, patch_with, release},
    chunk, failure, header, journal, key, send, stage, within,
};

fn stored(node: &Node) -> usize {
    ["blobs", "partial"]
        .iter()
        .map(|name| fs::read_dir(node.path("data").join(name)).unwrap().count())
        .sum()
}

#[tokio::test]
async fn a_patch_without_a_signature_that_counts_is_refused_before_anything_is_stored() {
    let node = Node::start().await;
    let before = (stored(&node), node.control.calls());
    let mut client = node.operator().await;
    for (signer, code) in [
        (None, "MF0213"),
        (Some("eve"), "MF0215"),
        (Some("old"), "MF0217"),
    ] {
        let mut patch = patch("1", "2");
        if let Some(name) = signer {
            node.signers.sign(&mut patch, name);
        }
        let result = stage(&mut client, &key("r", &patch), &patch).await;
        let (grpc, failure) = failure(result);
        assert_eq!(
            (grpc, failure.code.as_str()),
            (Code::PermissionDenied, code),
            "{failure}"
        );
        assert!(failure.refused && !failure.changed && failure.phase() == pb::Phase::Stage);
        let last = journal(node.folder.path()).pop().unwrap();
        assert_eq!(
            (last["kind"].as_str(), last["code"].as_str()),
            (Some("refused"), Some(code))
        );
    }
    assert_eq!((stored(&node), node.control.calls()), before);
}

#[tokio::test]
async fn a_manifest_that_was_altered_after_it_was_signed_is_refused() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let mut signed = patch("1", "2");
    node.signers.sign(&mut signed, "ann");
    let other = patch_with("1", "2", "evil");

    // Under the digest of the good one, and under its own.
    let mut altered = header(&key("r", &signed), &signed);
    let Some(stage_request::Body::Header(body)) = &mut altered.body else {
        panic!()
    };
    body.manifest = other.manifest_bytes.clone().into();
    assert_eq!(
        failure(send(&mut client, vec![altered.clone()]).await)
            .1
            .code,
        "MF0415"
    );
    let Some(stage_request::Body::Header(body)) = &mut altered.body else {
        panic!()
    };
    body.key = Some(key("r", &other));
    assert_eq!(
        failure(send(&mut client, vec![altered]).await).1.code,
        "MF0214"
    );
}

#[tokio::test]
async fn two_signatures_of_one_person_are_not_two_people() {
    let node = Node::prepare("signers_required: 2\n");
    let mut bundle = release();
    node.signers.sign(&mut bundle, "ann");
    node.signers.sign(&mut bundle, "bob");
    bundle.write(&node.path("release.tar")).unwrap();
    let mut node = node;
    node.boot().await.unwrap();

    let mut client = node.operator().await;
    let mut patch = patch("1", "2");
    node.signers.sign(&mut patch, "ann");
    let (_, failure) = failure(stage(&mut client, &key("r", &patch), &patch).await);
    assert_eq!(failure.code, "MF0414");
    assert!(
        !failure.what.contains(" 2 ") && !failure.hint.contains('2'),
        "it says what would be enough: {failure}"
    );
    node.signers.sign(&mut patch, "bob");
    let response = stage(&mut client, &key("r", &patch), &patch).await.unwrap();
    assert_eq!(
        (response.complete, response.signers),
        (true, vec!["ann".to_owned(), "bob".to_owned()])
    );
}

#[tokio::test]
async fn a_release_cannot_be_staged_as_a_patch() {
    let node = Node::start().await;
    let mut bundle = release();
    node.signers.sign(&mut bundle, "ann");
    let result = stage(&mut node.operator().await, &key("r", &bundle), &bundle).await;
    assert_eq!(failure(result).1.code, "MF0222");
}

#[tokio::test]
async fn a_chunk_that_does_not_belong_is_refused_with_its_digest_and_offset() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let mut patch = patch("1", "2");
    node.signers.sign(&mut patch, "ann");
    let key = key("r", &patch);
    let (digest, bytes) = blob(&patch);
    let unknown = midflight_patch::Digest::of(b"unknown");
    for (bad, code) in [
        (chunk(&digest, 5, &bytes[5..]), "MF0412"),
        (chunk(&unknown, 0, b"unknown"), "MF0412"),
        (
            chunk(&digest, 0, &[bytes.as_slice(), b"more"].concat()),
            "MF0412",
        ),
        (chunk(&digest, 0, &vec![0; (256 << 10) + 1]), "MF0412"),
        (chunk(&digest, 0, &vec![b'x'; bytes.len()]), "MF0413"),
    ] {
        let Some(stage_request::Body::Chunk(sent)) = bad.body.clone() else {
            panic!()
        };
        let (grpc, failure) = failure(send(&mut client, vec![header(&key, &patch), bad]).await);
        assert_eq!(
            (grpc, failure.code.as_str()),
            (Code::InvalidArgument, code),
            "{failure}"
        );
        assert!(failure.what.contains(&sent.digest), "{failure}");
        assert!(
            code == "MF0413" || failure.what.contains(&format!("offset {}", sent.offset)),
            "{failure}"
        );
    }
    let status = send(&mut client, vec![header(&key, &patch)]).await.unwrap();
    assert_eq!((status.complete, status.blobs[0].received), (false, 0));
}

#[tokio::test]
async fn staging_goes_on_where_it_was_cut_off_also_after_a_restart() {
    let mut node = Node::start().await;
    let mut patch = patch("1", "2");
    node.signers.sign(&mut patch, "ann");
    let key = key("r", &patch);
    let (digest, bytes) = blob(&patch);
    let first = send(
        &mut node.operator().await,
        vec![header(&key, &patch), chunk(&digest, 0, &bytes[..7])],
    )
    .await;
    let first = first.unwrap();
    assert_eq!((first.complete, first.blobs[0].received), (false, 7));
    node.restart().await;
    let mut client = node.operator().await;
    let second = send(
        &mut client,
        vec![header(&key, &patch), chunk(&digest, 7, &bytes[7..])],
    )
    .await
    .unwrap();
    assert!(second.complete);

    // Again, it answers at once, and compiles nothing again.
    let compiled = node.control.calls();
    assert!(
        send(&mut client, vec![header(&key, &patch)])
            .await
            .unwrap()
            .complete
    );
    assert_eq!(node.control.calls(), compiled);
}

/// Passes `most` bytes on to `to`, wherever in a message that ends, and cuts both connections when it is told to.
async fn cut_after(most: u64, to: SocketAddr) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, told) = oneshot::channel();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let agent = TcpStream::connect(to).await.unwrap();
        let (from_client, mut to_client) = client.into_split();
        let (mut from_agent, mut to_agent) = agent.into_split();
        let back = tokio::spawn(async move {
            // Ends with the agent's side, which the cut closes.
            let _ = tokio::io::copy(&mut from_agent, &mut to_client).await;
        });
        let copied = tokio::io::copy(&mut from_client.take(most), &mut to_agent).await;
        assert_eq!(copied.unwrap(), most, "there was something to cut");
        told.await.unwrap();
        back.abort();
    });
    (address, cut)
}

#[tokio::test]
async fn a_connection_that_is_cut_inside_a_blob_costs_no_more_than_the_chunk_that_was_under_way() {
    let node = Node::start().await;
    let mut patch = patch_with("1", "2", &"long ".repeat(200_000));
    node.signers.sign(&mut patch, "ann");
    let key = key("r", &patch);
    let (digest, bytes) = blob(&patch);
    let address = node.server.as_ref().unwrap().address().unwrap();
    let (address, cut) = cut_after(700_000, address).await;
    let mut client = node.pki.client(address, Some("operator")).await.unwrap();
    let chunks = bytes.chunks(100_000).zip((0..).step_by(100_000));
    let mut requests = vec![header(&key, &patch)];
    requests.extend(chunks.map(|(data, offset)| chunk(&digest, offset, data)));
    let sending = tokio::spawn(async move { send(&mut client, requests).await });

    // Six chunks came through, and a part of the seventh.
    let mut client = node.operator().await;
    within(async {
        loop {
            let status = send(&mut client, vec![header(&key, &patch)]).await.unwrap();
            let blob = status
                .blobs
                .iter()
                .find(|blob| blob.digest == digest.to_string());
            if blob.unwrap().received == 600_000 {
                break;
            }
        }
    })
    .await;
    cut.send(()).unwrap();
    within(sending).await.unwrap().unwrap_err();
    assert!(stage(&mut client, &key, &patch).await.unwrap().complete);
    Order::open(&mut client, &key).await.unwrap();
}

#[tokio::test]
async fn a_part_of_a_blob_that_was_damaged_on_disk_is_found_with_its_last_byte_and_comes_again() {
    let node = Node::start().await;
    let mut patch = patch_with("1", "2", &"long ".repeat(50_000));
    node.signers.sign(&mut patch, "ann");
    let key = key("r", &patch);
    let (digest, bytes) = blob(&patch);
    let mut client = node.operator().await;
    let part = chunk(&digest, 0, &bytes[..100_000]);
    send(&mut client, vec![header(&key, &patch), part])
        .await
        .unwrap();
    let file = node.path("data/partial").join(digest.hex());
    let mut damaged = fs::read(&file).unwrap();
    damaged[50_000] ^= 1;
    fs::write(&file, damaged).unwrap();

    let calls = node.control.calls();
    let (_, damage) = failure(stage(&mut client, &key, &patch).await);
    assert_eq!(damage.code, "MF0413", "{damage}");
    assert_eq!(node.control.calls(), calls);
    assert!(!file.exists());
    assert!(stage(&mut client, &key, &patch).await.unwrap().complete);
}

#[tokio::test]
async fn a_component_that_does_not_compile_is_refused_when_it_is_staged() {
    let node = Node::start().await;
    let mut patch = patch_with("1", "2", "broken");
    node.signers.sign(&mut patch, "ann");
    let mut client = node.operator().await;
    let (_, failed) = failure(stage(&mut client, &key("r", &patch), &patch).await);
    assert_eq!((failed.code.as_str(), failed.refused), ("MF0301", true));
    let opened = Order::open(&mut client, &key("r", &patch))
        .await
        .map(|_| ());
    assert_eq!(failure(opened).1.code, "MF0418");
}

#[tokio::test]
async fn a_signer_who_is_no_longer_allowed_is_refused_without_a_restart_also_for_what_is_staged() {
    let node = Node::start().await;
    let patch = patch("1", "2");
    let key = node.staged("r", &patch).await;
    let text = fs::read_to_string(node.path("allowed_signers")).unwrap();
    let rest: String = text
        .lines()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(node.path("allowed_signers"), rest).unwrap();
    let opened = Order::open(&mut node.operator().await, &key)
        .await
        .map(|_| ());
    let (grpc, failure) = failure(opened);
    assert_eq!(
        (grpc, failure.code.as_str()),
        (Code::PermissionDenied, "MF0215")
    );
    assert!(!node.control.is_open());
}

#[tokio::test]
async fn a_blob_that_was_damaged_on_disk_is_found_before_it_runs_and_can_be_staged_again() {
    let node = Node::start().await;
    let mut patch = patch("1", "2");
    let key = node.staged("r", &patch).await;
    let (digest, bytes) = blob(&patch);
    fs::write(
        node.path("data/blobs").join(digest.hex()),
        vec![b'x'; bytes.len()],
    )
    .unwrap();
    let mut client = node.operator().await;
    assert_eq!(
        failure(Order::open(&mut client, &key).await.map(|_| ()))
            .1
            .code,
        "MF0410"
    );
    node.signers.sign(&mut patch, "ann");
    assert!(stage(&mut client, &key, &patch).await.unwrap().complete);
    Order::open(&mut client, &key).await.unwrap();
}

#[tokio::test]
async fn no_more_than_a_few_patches_are_staged_at_a_time() {
    let node = Node::start().await;
    node.control.hold("stage");
    let mut waiting = Vec::new();
    for vsn in ["2", "3", "4", "5"] {
        let (mut client, mut patch) = (node.operator().await, patch("1", vsn));
        node.signers.sign(&mut patch, "ann");
        let key = key("r", &patch);
        waiting.push(tokio::spawn(async move {
            stage(&mut client, &key, &patch).await
        }));
    }
    // Each of them compiles, and waits there with its place taken; release 1 has two components.
    node.control.called_times("stage", 2 + 4).await;
    let (code, failure) = failure(send(&mut node.operator().await, Vec::new()).await);
    assert_eq!(
        (code, failure.code.as_str()),
        (Code::ResourceExhausted, "MF0426")
    );
    node.control.let_go("stage");
    for stage in waiting {
        assert!(stage.await.unwrap().unwrap().complete);
    }
}
