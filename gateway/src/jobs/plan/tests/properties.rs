//! What holds of every plan, over random definitions, outcomes and crashes.

use proptest::prelude::*;

use super::oracle::{any_draws, any_job, any_sound_job, expected, some_of};
use super::world::{ATTEMPTS_MAX, Ending, Kind, Script, World, default_next, findings, id, output};
use crate::jobs::plan::Plan;
use crate::model::job::{AttemptStatus, RunStatus, StepStatus};

/// What has to be so at every end.
fn check_end(world: &World, ranks: &[usize]) {
    let wanted = expected(&world.scripts, ranks);
    if wanted.failing.is_empty() {
        assert_eq!((world.plan.status(), world.statuses()), (RunStatus::Completed, wanted.statuses));
    } else {
        assert_eq!(world.plan.status(), RunStatus::Failed);
        let step = world.plan.error().unwrap().step.clone().unwrap();
        assert!(wanted.failing.iter().any(|&failing| id(failing) == step.as_str()), "{step} does not fail");
        for (step, (is, may)) in world.statuses().into_iter().zip(wanted.statuses).enumerate() {
            assert!(is != StepStatus::Completed || may == StepStatus::Completed, "{step} was not to be reached");
        }
    }
    assert!(world.in_flight.is_empty());
    let ids: Vec<_> = world.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=world.events.len() as u64).collect::<Vec<_>>(), "events have no gaps");
    for step in &world.stored.steps {
        let is_it =
            |event: &&crate::model::job::RunEvent| event.step.as_ref() == Some(&step.id) && event.status == "completed";
        let count = world.events.iter().filter(is_it).count();
        assert_eq!(count, usize::from(step.status == StepStatus::Completed), "a step completes once at most");
    }
}

/// Any first step, with branches after it that end there.
fn branches(count: usize, first: Script) -> Vec<Script> {
    let mut scripts = vec![first];
    scripts.extend((0..count).map(|_| Script::new(Kind::Http, Some(Vec::new()))));
    scripts
}

proptest! {
    #[test]
    fn p39_validation_error_handling((mut scripts, ranks) in any_sound_job(), which in any::<prop::sample::Index>(), draws in any_draws()) {
        let step = which.index(scripts.len());
        scripts[step].ending = Ending::Invalid;
        let mut world = World::begun(&scripts);
        world.wander(&draws, 0);
        world.finish();
        check_end(&world, &ranks);
        let is_reached = !expected(&scripts, &ranks).failing.is_empty();
        if is_reached {
            let held = &world.stored.steps[step];
            prop_assert_eq!((held.status, &held.errors), (StepStatus::Invalid, &findings(step)));
            prop_assert_eq!(&world.stored.error.as_ref().unwrap().code, "invalid-data");
            let last = held.attempts.last().unwrap().status;
            let count = held.attempts.iter().filter(|attempt| attempt.status == AttemptStatus::Invalid).count();
            prop_assert_eq!((last, count), (AttemptStatus::Invalid, 1));
        }
    }

    #[test]
    fn p41_step_execution_order((scripts, ranks) in any_sound_job(), draws in any_draws()) {
        let mut world = World::begun(&scripts);
        world.wander(&draws, 0);
        world.finish();
        check_end(&world, &ranks);
        let place = |step: usize, status: &str| {
            world.events.iter().position(|event| {
                event.step.as_ref().is_some_and(|found| found.as_str() == id(step)) && event.status == status
            })
        };
        for step in 0..scripts.len() {
            let held = world.step(step);
            if held.status != StepStatus::Completed {
                continue;
            }
            let named = held.next.as_ref().map(|next| next.iter().filter_map(|id| world.graph.index(id.as_str())).collect());
            for next in named.unwrap_or_else(|| default_next(&scripts, step)) {
                if let Some(begun) = place(next, "running") {
                    prop_assert!(place(step, "completed").unwrap() < begun, "{} began before {} ended", next, step);
                }
            }
        }
    }

    #[test]
    fn p42_routing_decision_parsing(named in some_of(6), twice in any::<bool>()) {
        let mut names: Vec<String> = named.iter().rev().map(|&step| id(step)).collect();
        let wanted = names.clone();
        if twice {
            names.extend(wanted.clone());
        }
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let world = World::ended(&branches(6, Script::naming(Some((1..7).collect()), &names)));
        let next: Vec<_> = world.step(0).next.iter().flatten().map(|id| id.as_str().to_owned()).collect();
        prop_assert_eq!(next, wanted);
    }

    #[test]
    fn p43_single_next_step_routing(named in 1..7_usize) {
        let world = World::ended(&branches(6, Script::naming(Some((1..7).collect()), &[&id(named)])));
        prop_assert_eq!(&world.starts, &vec![0, named]);
        prop_assert_eq!(world.plan.status(), RunStatus::Completed);
    }

    #[test]
    fn p44_multiple_next_steps_routing(named in some_of(6)) {
        let names: Vec<_> = named.iter().map(|&step| id(step)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut world = World::begun(&branches(6, Script::naming(Some((1..7).collect()), &names)));
        world.end(0);
        prop_assert_eq!(world.in_flight.iter().copied().collect::<Vec<_>>(), named);
    }

    #[test]
    fn p45_terminal_routing_completion(count in 0..7_usize) {
        let world = World::ended(&branches(count, Script::naming(Some((1..=count).collect()), &[])));
        prop_assert_eq!((&world.starts, world.plan.status()), (&vec![0], RunStatus::Completed));
        prop_assert!(world.statuses()[1..].iter().all(|status| *status == StepStatus::Skipped));
    }

    #[test]
    fn p46_invalid_routing_error_handling(may in some_of(6), name in "s[0-9]|[a-z]{1,8}|\\PC{0,80}") {
        prop_assume!(!may.iter().any(|&step| id(step) == name));
        let good = id(may[0]);
        let world = World::ended(&branches(6, Script::naming(Some(may), &[&good, &name])));
        let error = world.plan.error().unwrap();
        prop_assert_eq!((world.plan.status(), error.code.as_str()), (RunStatus::Failed, "invalid-route"));
        let shown: String = name.chars().take(64).collect();
        prop_assert!(error.message.contains(&format!("`{}`", shown.escape_debug())), "{}", error.message);
        prop_assert_eq!(&world.starts, &vec![0]);
        prop_assert_eq!(world.step(0).attempts.len(), 1, "it is not tried again");
    }

    #[test]
    fn p50_status_update_and_output_persistence((scripts, ranks) in any_job(), draws in any_draws()) {
        let mut world = World::begun(&scripts);
        for draw in draws {
            world.wander(&[draw], 0);
            world.save();
            let again = Plan::of(&world.stored);
            prop_assert_eq!(again.steps(), world.plan.steps());
            prop_assert_eq!((again.status(), again.error(), again.last_event()), (world.plan.status(), world.plan.error(), world.plan.last_event()));
        }
        world.finish();
        check_end(&world, &ranks);
        for (step, held) in world.stored.steps.iter().enumerate() {
            let has_output = held.status == StepStatus::Completed && scripts[step].kind != Kind::Wait;
            prop_assert_eq!(&held.output, &has_output.then(|| output(step)));
        }
    }

    #[test]
    fn p51_retry_and_error_handling_consistency(is_wasm in any::<bool>(), failures in 0..6_u32, parks in 0..3_usize) {
        let kind = if is_wasm { Kind::Wasm } else { Kind::Http };
        let world = World::ended(&[Script { parks, failures, ..Script::new(kind, None) }]);
        let is_failed = failures >= ATTEMPTS_MAX;
        let held = world.step(0);
        let attempts = failures.min(ATTEMPTS_MAX) + u32::from(!is_failed);
        prop_assert_eq!(held.attempts.len(), attempts as usize);
        prop_assert_eq!(held.status, if is_failed { StepStatus::Failed } else { StepStatus::Completed });
        prop_assert_eq!(held.error.is_some(), is_failed);
        for (index, attempt) in held.attempts.iter().enumerate() {
            prop_assert_eq!(attempt.number as usize, index + 1);
            prop_assert_eq!(attempt.error.is_some(), attempt.status == AttemptStatus::Failed);
        }
    }

    #[test]
    fn crashes_anywhere_lead_to_the_same_end((scripts, ranks) in any_job(), draws in any_draws()) {
        let mut world = World::new(&scripts);
        world.crash();
        // Fewer than what a step may be interrupted.
        world.wander(&draws, 8);
        world.finish();
        check_end(&world, &ranks);
    }
}
