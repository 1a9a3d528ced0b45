mod oracle;
mod properties;
mod world;

use self::world::{Ending, INTERVAL, Kind, Script, World, error};
use super::*;
use crate::jobs::runner::Again;
use crate::model::job::{AttemptStatus, RunStatus, StepStatus};

fn http(next: &[usize]) -> Script {
    Script::new(Kind::Http, Some(next.to_vec()))
}

fn plain() -> Script {
    Script::new(Kind::Http, None)
}

/// One step, then two side by side, then one that both name.
fn diamond() -> [Script; 4] {
    [http(&[1, 2]), http(&[3]), http(&[3]), http(&[])]
}

#[test]
fn steps_run_in_the_order_of_the_list_unless_they_say_otherwise() {
    let world = World::ended(&[plain(), plain(), plain()]);
    assert_eq!((world.starts, world.ends), (vec![0, 1, 2], vec![RunStatus::Completed]));
}

#[test]
fn a_join_starts_once_when_all_that_lead_to_it_have_ended() {
    let mut world = World::begun(&diamond());
    world.end(0);
    assert_eq!(world.starts, [0, 1, 2]);
    world.end(2);
    assert_eq!(world.starts, [0, 1, 2]);
    world.end(1);
    assert_eq!(world.starts, [0, 1, 2, 3]);
    world.finish();
    assert_eq!(world.plan.status(), RunStatus::Completed);
}

#[test]
fn a_step_whose_condition_is_not_true_goes_on_to_its_default_next() {
    let world = World::ended(&[plain(), Script { is_skipped: true, ..plain() }, plain()]);
    assert_eq!(world.statuses(), [StepStatus::Completed, StepStatus::Skipped, StepStatus::Completed]);
    assert!(world.step(1).attempts.is_empty());
}

#[test]
fn after_a_failure_what_is_in_flight_ends_and_nothing_starts() {
    let mut scripts = diamond();
    scripts[1].ending = Ending::FailsForGood;
    let mut world = World::begun(&scripts);
    world.end(0);
    world.end(1);
    assert_eq!(world.plan.status(), RunStatus::Running);
    world.end(2);
    let wanted = [StepStatus::Completed, StepStatus::Failed, StepStatus::Completed, StepStatus::Pending];
    assert_eq!(world.statuses(), wanted);
    assert_eq!(world.ends, [RunStatus::Failed]);
    assert_eq!(world.plan.error().unwrap().step.as_ref().unwrap().as_str(), "s1");
}

#[test]
fn what_was_about_to_start_when_another_failed_does_not() {
    let graph = Graph::of(&world::definition(&diamond()));
    let mut world = World::begun(&diamond());
    let at = world.now;
    let starts = apply(&graph, &mut world.plan, Event::Completed { step: 0, output: None, next: None, at });
    assert_eq!(starts, [Action::Start(1), Action::Start(2)]);
    let never = Event::Failed { step: 1, error: error("template"), again: Again::Never, random: 0.0, at };
    let actions = apply(&graph, &mut world.plan, never);
    assert_eq!(actions, [Action::Cancel(2), Action::End(RunStatus::Failed)]);
    assert_eq!(apply(&graph, &mut world.plan, Event::Started { step: 2, at }), []);
    assert_eq!(world.statuses()[2], StepStatus::Pending);
}

#[test]
fn an_attempt_that_a_crash_cut_is_made_again_and_does_not_count() {
    let mut world = World::begun(&[plain()]);
    for _ in 0..9 {
        world.save();
        world.crash();
    }
    assert_eq!((world.step(0).tries, world.step(0).attempts.len()), (0, 10));
    world.save();
    world.crash();
    assert_eq!(world.plan.status(), RunStatus::Failed);
    assert_eq!(world.plan.error().unwrap().code, "interrupted");
}

#[test]
fn a_canceled_run_cuts_what_runs_and_can_go_on_later() {
    let mut world = World::begun(&diamond());
    world.end(0);
    world.apply(Event::CancelRequested { at: world.now });
    assert_eq!((&world.canceled, &world.ends), (&vec![1, 2], &vec![RunStatus::Canceled]));
    assert_eq!(world.step(1).attempts[0].status, AttemptStatus::Canceled);
    world.apply(Event::RetryRequested { at: world.now });
    world.finish();
    assert_eq!(world.statuses(), [StepStatus::Completed; 4]);
    assert_eq!(world.starts, [0, 1, 2, 1, 2, 3]);
}

#[test]
fn a_circuit_that_is_open_takes_no_attempt() {
    let mut world = World::begun(&[Script { parks: 1, ..plain() }]);
    world.end(0);
    assert_eq!((world.step(0).tries, world.step(0).attempts.len()), (0, 0));
    assert_eq!(world.plan.rest(), Rest::Until(world.now + INTERVAL));
    world.finish();
    assert_eq!(world.step(0).attempts.len(), 1);
}

#[test]
fn a_wait_runs_nowhere_and_outlives_a_crash() {
    let mut world = World::begun(&[Script::new(Kind::Wait, None), plain()]);
    assert_eq!(world.plan.rest(), Rest::Until(world.now + INTERVAL));
    world.save();
    world.crash();
    assert_eq!((world.step(0).status, world.step(0).attempts.len()), (StepStatus::Running, 1));
    world.finish();
    assert_eq!(world.statuses(), [StepStatus::Completed; 2]);
}
