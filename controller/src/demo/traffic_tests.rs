//! The clients against a node that is none: servers that speak as the actors do, and do one thing wrong. Each wrong is seen,
//! and counted as what it is.

use std::collections::HashMap;
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::demo::place::Block;

/// What the node does wrong, once a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    SwallowLine,
    EchoTwice,
    AlterLine,
    Hangup,
    SkipIncrement,
    CountTwice,
    SwallowAnswer,
    AnswerTwice,
    Fail,
}

/// The line of a connection at which it happens.
const AT: usize = 4;

async fn serve(
    listener: TcpListener,
    fault: Fault,
    answer: fn(&str, Fault, &mut HashMap<String, u64>) -> String,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let (from, mut to) = stream.into_split();
            let (mut lines, mut counts) = (BufReader::new(from).lines(), HashMap::new());
            for number in 1.. {
                let Ok(Some(line)) = lines.next_line().await else {
                    return;
                };
                let fault = if number == AT { fault } else { Fault::None };
                let answer = answer(&line, fault, &mut counts);
                if fault == Fault::Hangup || to.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn echoed(line: &str, fault: Fault, _: &mut HashMap<String, u64>) -> String {
    match fault {
        Fault::SwallowLine => String::new(),
        Fault::EchoTwice => format!("{line}\n{line}\n"),
        Fault::AlterLine => format!("{line}!\n"),
        _ => format!("{line}\n"),
    }
}

fn gateway(line: &str, fault: Fault, counts: &mut HashMap<String, u64>) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let text = match words[0] {
        "greet" => format!("Hello, {}!", words[2]),
        "pi" => "3.14".to_owned(),
        verb => {
            let count = counts.entry(words[2].to_owned()).or_insert(0);
            *count += match (verb, fault) {
                ("get", _) | (_, Fault::SkipIncrement) => 0,
                (_, Fault::CountTwice) => 2,
                _ => 1,
            };
            count.to_string()
        }
    };
    let answer = format!("ok {} {text}\n", words[1]);
    match fault {
        Fault::SwallowAnswer => String::new(),
        Fault::AnswerTwice => answer.repeat(2),
        Fault::Fail => format!("err {} timeout\n", words[1]),
        _ => answer,
    }
}

/// What the clients say of a node with this fault.
async fn figures(fault: Fault) -> Figures {
    let block = Block::claim(1).unwrap();
    let mut servers = JoinSet::new();
    let listen = async |port| TcpListener::bind((block.address(0), port)).await.unwrap();
    servers.spawn(serve(listen(ECHO_PORT).await, fault, echoed));
    servers.spawn(serve(listen(GATEWAY_PORT).await, fault, gateway));
    let node = Node {
        name: "n01".to_owned(),
        address: block.address(0),
        dir: PathBuf::new(),
    };
    let traffic = Traffic::start(&[node], 10).await.unwrap();
    traffic
        .flow(2 * AT as u64, Duration::from_secs(30))
        .await
        .unwrap();
    let patience = Duration::from_millis(if fault == Fault::None { 30_000 } else { 500 });
    traffic.finish(patience).await;
    traffic.audit(patience).await;
    traffic.figures()
}

#[tokio::test]
async fn a_node_that_does_everything_right_is_good() {
    let figures = figures(Fault::None).await;
    assert!(figures.is_good(), "{figures:?}");
    assert_eq!(figures.connections, u64::from(ECHOES + GATEWAYS));
    assert!(figures.sent > figures.connections * 2 * AT as u64);
}

#[tokio::test]
async fn lost_messages_are_seen() {
    let (of_echoes, of_gateways) = (u64::from(ECHOES), u64::from(GATEWAYS));
    assert_eq!(figures(Fault::SwallowLine).await.lost, of_echoes);
    assert_eq!(figures(Fault::SwallowAnswer).await.lost, of_gateways);
    assert_eq!(figures(Fault::Fail).await.lost, of_gateways);
    let altered = figures(Fault::AlterLine).await;
    // The line that follows overtakes the one that never came.
    assert_eq!((altered.lost, altered.wrong), (of_echoes, 2 * of_echoes));
}

#[tokio::test]
async fn duplicated_messages_are_seen() {
    assert_eq!(
        figures(Fault::EchoTwice).await.duplicated,
        u64::from(ECHOES)
    );
    assert_eq!(
        figures(Fault::AnswerTwice).await.duplicated,
        u64::from(GATEWAYS)
    );
}

#[tokio::test]
async fn increments_that_are_not_counted_or_counted_twice_are_seen() {
    let (skipped, twice) = (
        figures(Fault::SkipIncrement).await,
        figures(Fault::CountTwice).await,
    );
    let all = u64::from(GATEWAYS);
    assert_eq!(
        (skipped.lost, skipped.duplicated, skipped.counters_wrong),
        (all, 0, all)
    );
    assert_eq!(
        (twice.lost, twice.duplicated, twice.counters_wrong),
        (0, all, all)
    );
}

#[tokio::test]
async fn a_connection_that_the_node_closes_is_seen() {
    let figures = figures(Fault::Hangup).await;
    assert_eq!(figures.dropped, figures.connections);
    assert!(figures.lost >= figures.connections && figures.counters_wrong > 0);
}
