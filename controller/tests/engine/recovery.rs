//! Processes that die, and processes that go on: nothing is forgotten, and no phase runs twice.

use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Outcome, Phase, RolloutState};
use midflight_controller::output::Silent;

use crate::world::{FAST, World, count, good, is_asked};

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_leaves_a_journal_that_a_rollback_can_use() {
    let mut world = World::new(8, FAST, good);
    world
        .die_at(|fact| is_asked(fact, "n2", Phase::Upgrade))
        .await;
    let view = View::of(&world.events());
    assert_eq!(view.state, RolloutState::Running);
    assert!(
        view.changed()
            .iter()
            .any(|(node, known)| view.nodes[*node].name == "n1" && *known)
    );
    assert!(
        view.changed()
            .iter()
            .any(|(node, known)| view.nodes[*node].name == "n2" && !*known)
    );
    let ended = world.roll_back().await;
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (0, RolloutState::RolledBack)
    );
    assert_eq!(world.on_new(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_process_goes_on_where_the_first_died_whichever_event_was_the_last() {
    let whole = {
        let mut world = World::new(6, FAST, good);
        world.apply().await;
        world.events().len()
    };
    // The last two are the end.
    for last in 3..whole - 1 {
        let mut world = World::new(6, FAST, good);
        let mut seen = 0;
        world
            .die_at(move |_| {
                seen += 1;
                seen == last
            })
            .await;
        let ended = world.go_on(None, None, &mut Silent).await;
        assert_eq!(
            (ended.view.exit().code(), count(&ended, Outcome::Confirmed)),
            (0, 6),
            "died after event {last}"
        );
        assert_eq!(world.on_new(), 6);
        // No node took the new code twice.
        for number in 1..=6 {
            let suspended = world.fleet.resumed(&format!("n{number}"));
            assert_eq!(suspended, 1, "n{number}, died after event {last}");
        }
        let events = world.events();
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
        assert_eq!(View::of(&events).epoch, 2);
    }
}
