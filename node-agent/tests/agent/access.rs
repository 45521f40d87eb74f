//! Who may connect, and who may ask what.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt};

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use midflight_proto::agent::v1::{self as pb, sys_request};
use tokio::net::{TcpStream, UnixStream};
use tonic::{Code, Request, transport::Endpoint};

use crate::support::{Client, Node, bundles::patch, failure, key, pki::Pki, within};

fn address(node: &Node) -> SocketAddr {
    node.server.as_ref().unwrap().address().unwrap()
}

/// TLS 1.3 tells a client that its certificate was refused only after the handshake, so that the first request may fail
/// instead of the connection.
async fn is_kept_out(pki: &Pki, address: SocketAddr, role: Option<&str>) -> bool {
    match pki.client(address, role).await {
        Err(_) => true,
        Ok(mut client) => {
            let status = client
                .describe(pb::DescribeRequest::default())
                .await
                .unwrap_err();
            !matches!(status.code(), Code::Ok | Code::PermissionDenied)
        }
    }
}

fn sys(op: sys_request::Op) -> pb::SysRequest {
    pb::SysRequest {
        actor: Some(sys_request::Actor::Name("counter.1".into())),
        timeout_ms: 0,
        op: Some(op),
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_kept_out() {
    let node = Node::start().await;
    assert!(is_kept_out(&node.pki, address(&node), None).await);
}

#[tokio::test]
async fn a_client_of_another_authority_is_kept_out() {
    let node = Node::start().await;
    assert!(is_kept_out(&node.pki.forged(), address(&node), Some("operator")).await);
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_kept_out() {
    let node = Node::start().await;
    let mut client = match Endpoint::from_shared(format!("http://{}", address(&node)))
        .unwrap()
        .connect()
        .await
    {
        Ok(channel) => Client::new(channel),
        Err(_) => return,
    };
    assert!(
        within(client.describe(pb::DescribeRequest::default()))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let node = Node::start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address(&node)).await.unwrap());
    }
    within(node.client("viewer"))
        .await
        .describe(pb::DescribeRequest::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_certificate_without_a_known_role_may_ask_nothing() {
    let node = Node::start().await;
    for role in ["", "root", "Operator", "operators"] {
        let mut client = node.client(role).await;
        let (code, failure) = failure(client.describe(pb::DescribeRequest::default()).await);
        assert_eq!(
            (code, failure.code.as_str()),
            (Code::PermissionDenied, "MF0416"),
            "{role}"
        );
        assert!(failure.refused && !failure.changed);
        for word in ["viewer", "debugger"] {
            assert!(!failure.to_string().contains(word), "{failure}");
        }
        let mut health = tonic_health::pb::health_client::HealthClient::new(
            node.pki.channel(address(&node), Some(role)).await.unwrap(),
        );
        let status = health
            .check(Request::new(Default::default()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn a_viewer_reads_and_does_not_drive_and_nobody_but_a_debugger_reads_state() {
    let node = Node::start().await;
    let mut viewer = node.client("viewer").await;
    let described = viewer
        .describe(pb::DescribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((described.node.as_str(), described.actors), ("web1.eu", 3));
    let key = Some(key("r", &patch("1", "2")));
    let confirm = pb::ConfirmRequest {
        key: key.clone(),
        finish: false,
        ..Default::default()
    };
    let rollback = pb::RollbackRequest {
        key,
        ..Default::default()
    };
    for role in ["viewer", "debugger"] {
        let mut client = node.client(role).await;
        assert_eq!(
            failure(client.confirm(confirm.clone()).await).1.code,
            "MF0416"
        );
        assert_eq!(
            failure(client.rollback(rollback.clone()).await).1.code,
            "MF0416"
        );
        assert_eq!(
            failure(client.stage(futures::stream::empty()).await).1.code,
            "MF0416"
        );
        assert_eq!(
            failure(client.upgrade(futures::stream::empty()).await.map(|_| ()))
                .1
                .code,
            "MF0416"
        );
    }
    let state = || sys(sys_request::Op::GetState(pb::SysGetState {}));
    for role in ["viewer", "operator"] {
        let mut client = node.client(role).await;
        assert_eq!(failure(client.sys(state()).await).1.code, "MF0416");
        client
            .sys(sys(sys_request::Op::Status(pb::SysStatus {})))
            .await
            .unwrap();
    }
    let mut debugger = node.client("debugger").await;
    assert_eq!(
        debugger.sys(state()).await.unwrap().into_inner().state,
        "10"
    );
}

#[tokio::test]
async fn sys_is_refused_to_everybody_unless_it_is_turned_on() {
    let node = Node::start_with("").await;
    let mut debugger = node.client("debugger").await;
    let (code, failure) = failure(
        debugger
            .sys(sys(sys_request::Op::Status(pb::SysStatus {})))
            .await,
    );
    assert_eq!(
        (code, failure.code.as_str()),
        (Code::PermissionDenied, "MF0417")
    );
}

#[tokio::test]
async fn sys_that_is_on_for_reading_shows_how_things_stand_and_no_more() {
    let node = Node::start_with("sys: read\n").await;
    let mut viewer = node.client("viewer").await;
    let look = || sys(sys_request::Op::Status(pb::SysStatus {}));
    viewer.sys(look()).await.unwrap();
    let list = pb::SysRequest {
        actor: None,
        ..sys(sys_request::Op::List(pb::SysList::default()))
    };
    viewer.sys(list).await.unwrap();
    let statistics = |switch: pb::SysSwitch| {
        let switch = switch.into();
        sys(sys_request::Op::Statistics(pb::SysStatistics { switch }))
    };
    viewer.sys(statistics(pb::SysSwitch::Get)).await.unwrap();
    let mut debugger = node.client("debugger").await;
    for refused in [
        sys(sys_request::Op::GetState(pb::SysGetState {})),
        sys(sys_request::Op::Suspend(pb::SysSuspend {})),
        statistics(pb::SysSwitch::On),
    ] {
        let (code, failure) = failure(debugger.sys(refused).await);
        assert_eq!(
            (code, failure.code.as_str()),
            (Code::PermissionDenied, "MF0440")
        );
    }
}

#[tokio::test]
async fn a_change_by_sys_is_in_the_journal_and_among_the_events_with_who_asked() {
    let node = Node::start().await;
    let mut debugger = node.client("debugger").await;
    let suspend = sys(sys_request::Op::Suspend(pb::SysSuspend {}));
    debugger.sys(suspend).await.unwrap();
    let mut nobody = sys(sys_request::Op::Suspend(pb::SysSuspend {}));
    nobody.actor = Some(sys_request::Actor::Name("nobody".into()));
    failure(debugger.sys(nobody).await);
    let journal = std::fs::read_to_string(node.path("data/journal")).unwrap();
    for subject in ["counter.1", "nobody"] {
        let line = journal
            .lines()
            .find(|line| line.contains("\"sys\"") && line.contains(subject))
            .unwrap_or_else(|| panic!("{subject}: {journal}"));
        assert!(
            line.contains("suspend") && line.contains("controller at 127.0.0.1"),
            "{line}"
        );
    }
    let mut events = debugger
        .watch_events(pb::WatchEventsRequest { from_seq: 1 })
        .await
        .unwrap()
        .into_inner();
    loop {
        let event = within(events.next()).await.unwrap().unwrap();
        if event.kind == "actor" {
            assert!(
                event.text.starts_with("sys suspend of \"counter.1\" by "),
                "{}",
                event.text
            );
            assert!(event.text.ends_with(": done"), "{}", event.text);
            break;
        }
    }
}

#[tokio::test]
async fn a_sys_request_that_does_not_fit_what_it_is_about_is_refused() {
    let node = Node::start().await;
    let mut debugger = node.client("debugger").await;
    let module = pb::SysRequest {
        actor: Some(sys_request::Actor::Module("counter".into())),
        ..sys(sys_request::Op::GetState(pb::SysGetState {}))
    };
    let whole = sys(sys_request::Op::Top(pb::SysTop::default()));
    let nobody = pb::SysRequest {
        actor: None,
        ..sys(sys_request::Op::Suspend(pb::SysSuspend {}))
    };
    for wrong in [module, whole, nobody] {
        assert_eq!(failure(debugger.sys(wrong).await).1.code, "MF0415");
    }
}

#[tokio::test]
async fn the_node_in_numbers_is_for_every_role_also_while_sys_is_off() {
    let node = Node::start_with("").await;
    let mut viewer = node.client("viewer").await;
    let answer = viewer.metrics(pb::MetricsRequest {}).await.unwrap();
    let text = answer.into_inner().text;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = [
        "midflight_dead_letters_total{node=\"web1.eu\"} 3",
        "# TYPE midflight_node_pause_seconds histogram",
    ];
    for wanted in lines {
        assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
    }
}

#[tokio::test]
async fn the_unix_socket_is_for_its_owner_and_serves_the_same() {
    let node = Node::start().await;
    let path = node.path("agent.sock");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://agent")
        .connect_with_connector(connect)
        .await
        .unwrap();
    let mut client = Client::new(channel);
    client
        .describe(pb::DescribeRequest::default())
        .await
        .unwrap();
    let request = pb::ConfirmRequest {
        key: Some(key("r", &patch("1", "2"))),
        finish: false,
        ..Default::default()
    };
    assert_eq!(failure(client.confirm(request).await).1.code, "MF0423");
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let node = Node::start().await;
    let channel = node
        .pki
        .channel(address(&node), Some("viewer"))
        .await
        .unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let service = "midflight.agent.v1.NodeAgent".to_owned();
    let request = tonic_health::pb::HealthCheckRequest { service };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(
        answer.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );

    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"midflight.agent.v1.NodeAgent".to_owned()),
        "{names:?}"
    );
}

#[tokio::test]
async fn whoever_watches_sees_what_happens_from_a_cursor_on_and_the_end() {
    let mut node = Node::start().await;
    let mut viewer = node.client("viewer").await;
    let mut events = viewer
        .watch_events(pb::WatchEventsRequest { from_seq: 1 })
        .await
        .unwrap()
        .into_inner();
    let first = within(events.next()).await.unwrap().unwrap();
    assert_eq!((first.seq, first.kind.as_str()), (1, "boot"));
    let key = node.upgraded("r", &patch("1", "2")).await;
    let mut last = first;
    while last
        .step
        .as_ref()
        .is_none_or(|step| step.phase() != pb::Phase::Resume)
    {
        let next = within(events.next()).await.unwrap().unwrap();
        assert_eq!(next.seq, last.seq + 1);
        last = next;
    }
    assert_eq!(last.key, Some(key));
    let stop = node.server.take().unwrap().stop();
    assert!(within(stop).await);
    while let Some(event) = within(events.next()).await {
        event.unwrap();
    }
}
