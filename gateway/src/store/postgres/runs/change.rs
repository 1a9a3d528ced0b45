//! What changes runs, many at once.
//!
//! One transaction for a batch, and one statement for each kind of row in it, whatever the number of runs. Invariant: rows are locked in
//! one order, so that two gateways' batches can't wait for each other.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use uuid::Uuid;

use super::super::column::{Columns, count_of, hash, json_of, micros, storable, word};
use super::super::connect::Failure;
use super::super::deliveries;
use crate::model::RunId;
use crate::model::job::{RunStatus, RunStep, StepId};
use crate::store::{Hold, IdempotencyKey, NewRun, RunChange, RunChanged, RunSaved};

/// Whoever has the key at this moment is waited for.
const KEY: &str = "\
    INSERT INTO idempotency_keys (scope, key, fingerprint, run, expires_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (scope, key) DO NOTHING";

const KNOWN: &str = "\
    SELECT k.fingerprint, k.run, r.status, k.expires_at
    FROM idempotency_keys AS k LEFT JOIN runs AS r ON r.id = k.run WHERE k.scope = $1 AND k.key = $2 FOR UPDATE OF k";

const REPLACE_KEY: &str = "\
    UPDATE idempotency_keys SET fingerprint = $3, run = $4, expires_at = $5 WHERE scope = $1 AND key = $2";

/// Nobody's where the session that it is made for is over. Until the commit, nobody ends one that lives: whoever did would
/// not see what it holds from now on.
const INSERT: &str = "\
    WITH new AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::bytea[],
                             $9::bigint[], $10::text[], $11::bytea[], $12::bigint[], $13::text[])
            AS n (id, job, revision, step_ids, worker, created_at, traceparent, data_digest, data_bytes, data,
                  trigger_digest, trigger_bytes, trigger)),
    living AS MATERIALIZED (
        SELECT id FROM workers WHERE id IN (SELECT worker FROM new)
            AND until > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        ORDER BY id FOR KEY SHARE),
    made AS (
        INSERT INTO runs (id, job, revision, status, step_ids, last_event, cancel_requested, retry_requested, worker, due_at,
                          created_at, traceparent, data_digest, data_bytes, data)
        SELECT new.id, job, revision, 'queued', step_ids, 0, false, false, living.id, created_at, created_at, traceparent,
               data_digest, data_bytes, data FROM new LEFT JOIN living ON living.id = new.worker
        ON CONFLICT (id) DO NOTHING RETURNING number, id)
    INSERT INTO run_triggers (run, digest, bytes, text)
    SELECT made.number, new.trigger_digest, new.trigger_bytes, new.trigger FROM made JOIN new ON new.id = made.id";

/// The session has to live: one that is over may have lost its runs to another a moment later.
const HELD: &str = "\
    SELECT r.id, r.number, r.worker FROM runs AS r
    JOIN unnest($1::uuid[], $2::uuid[]) AS s (id, worker) ON s.id = r.id AND s.worker = r.worker
    WHERE EXISTS (SELECT 1 FROM workers AS w WHERE w.id = s.worker
                  AND w.until > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    ORDER BY r.number FOR UPDATE OF r";

/// A request to end it that nobody has answered makes it due at once.
const SAVE: &str = "\
    UPDATE runs SET
        status = s.status, error = s.error, started_at = s.started_at, ended_at = s.ended_at,
        last_event = coalesce(s.last_event, runs.last_event), worker = CASE WHEN s.keeps THEN runs.worker END,
        due_at = CASE WHEN s.has_ended THEN NULL WHEN s.keeps THEN runs.due_at WHEN runs.cancel_requested THEN 0 ELSE s.due_at END,
        retry_requested = runs.retry_requested AND NOT s.clears,
        cancel_requested = runs.cancel_requested AND NOT s.has_ended
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::boolean[],
                $9::bigint[], $10::boolean[])
        AS s (number, status, error, started_at, ended_at, last_event, keeps, has_ended, due_at, clears)
    WHERE runs.number = s.number";

const SAVE_DATA: &str = "\
    UPDATE runs SET data_digest = s.digest, data_bytes = s.bytes, data = s.text
    FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::text[]) AS s (number, digest, bytes, text)
    WHERE runs.number = s.number";

const SAVE_STEPS: &str = "\
    INSERT INTO run_steps (run, id, status, error, errors, next, is_taken, due_at, tries, completion, attempts, output_digest,
                           output_bytes, output)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::bigint[],
                         $9::bigint[], $10::bigint[], $11::text[], $12::bytea[], $13::bigint[], $14::text[])
    ON CONFLICT (run, id) DO UPDATE SET
        status = excluded.status, error = excluded.error, errors = excluded.errors, next = excluded.next,
        is_taken = excluded.is_taken, due_at = excluded.due_at, tries = excluded.tries, completion = excluded.completion,
        attempts = excluded.attempts, output_digest = excluded.output_digest, output_bytes = excluded.output_bytes,
        output = excluded.output";

/// One that is there is the same: the batch comes again whose first answer was lost.
const SAVE_EVENTS: &str = "\
    INSERT INTO run_events (run, id, step, status, attempts, at)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
    ON CONFLICT (run, id) DO NOTHING";

pub(super) async fn apply(tx: &Transaction<'_>, changes: &[RunChange]) -> Result<Vec<RunChanged>, Failure> {
    let mut answers = vec![RunChanged::Done; changes.len()];
    create(tx, changes, &mut answers).await?;
    let saves: Vec<(usize, &RunSaved)> = changes
        .iter()
        .enumerate()
        .filter_map(|(index, change)| match change {
            RunChange::Save(saved) => Some((index, &**saved)),
            RunChange::Create(_) => None,
        })
        .collect();
    if saves.is_empty() {
        return Ok(answers);
    }
    let mut held = held(tx, &saves).await?;
    let mut own = Vec::new();
    for (index, saved) in saves {
        let id = saved.id.as_uuid();
        match held.get(id).filter(|(_, worker)| *worker == saved.worker.0) {
            Some((number, _)) => own.push((*number, saved)),
            None => put(&mut answers, index, RunChanged::Lost),
        }
        if saved.hold != Hold::Keep && held.get(id).is_some_and(|(_, worker)| *worker == saved.worker.0) {
            // What comes after it in the batch is not its holder's any more.
            held.remove(id);
        }
    }
    for round in rounds(own) {
        save(tx, &round).await?;
    }
    Ok(answers)
}

/// A statement changes a row once: two changes of one run come one after the other.
fn rounds(saves: Vec<(i64, &RunSaved)>) -> Vec<Vec<(i64, &RunSaved)>> {
    let mut rounds: Vec<Vec<(i64, &RunSaved)>> = Vec::new();
    let mut seen: HashMap<i64, usize> = HashMap::new();
    for (number, saved) in saves {
        let round = seen.entry(number).or_default();
        if rounds.len() <= *round {
            rounds.push(Vec::new());
        }
        if let Some(list) = rounds.get_mut(*round) {
            list.push((number, saved));
        }
        *round += 1;
    }
    rounds
}

fn put(answers: &mut [RunChanged], index: usize, answer: RunChanged) {
    if let Some(place) = answers.get_mut(index) {
        *place = answer;
    }
}

async fn create(tx: &Transaction<'_>, changes: &[RunChange], answers: &mut [RunChanged]) -> Result<(), Failure> {
    let mut news: Vec<(usize, &NewRun)> = changes
        .iter()
        .enumerate()
        .filter_map(|(index, change)| match change {
            RunChange::Create(new) => Some((index, &**new)),
            RunChange::Save(_) => None,
        })
        .collect();
    // Keys in one order, whoever's batch it is; of one key the first that came is the first.
    news.sort_by_key(|(_, new)| new.idempotency.as_ref().map(|key| (key.scope.clone(), key.key.clone())));
    let mut made: Vec<&NewRun> = Vec::new();
    for (index, new) in news {
        let found = match &new.idempotency {
            Some(key) => claim_key(tx, key, new, &made).await?,
            None => None,
        };
        match found {
            Some(answer) => put(answers, index, answer),
            None => made.push(new),
        }
    }
    if made.is_empty() { Ok(()) } else { insert(tx, &made).await }
}

/// Takes a key for a new run, or tells what it stands for: a run that is stored, or one of those that `made` has.
async fn claim_key(
    tx: &Transaction<'_>,
    key: &IdempotencyKey,
    new: &NewRun,
    made: &[&NewRun],
) -> Result<Option<RunChanged>, Failure> {
    let (fingerprint, run, expires) =
        (key.fingerprint.as_bytes().as_slice(), new.id.as_uuid(), key.expires_at.as_microsecond());
    let taken = tx.prepare_cached(KEY).await?;
    if tx.execute(&taken, &[&key.scope, &key.key, &fingerprint, run, &expires]).await? > 0 {
        return Ok(None);
    }
    let Some(row) = tx.query_opt(KNOWN, &[&key.scope, &key.key]).await? else { return Ok(None) };
    let before = RunId::from_uuid(row.try_get(1)?);
    let status: Option<RunStatus> = row.try_get::<_, Option<&str>>(2)?.map(|_| word(&row, 2)).transpose()?;
    let has_failed = matches!(status, Some(RunStatus::Failed | RunStatus::Canceled));
    let is_over = micros(&row, 3)? <= new.created_at;
    if before == new.id {
        return Ok(None);
    }
    let is_gone = status.is_none() && !made.iter().any(|made| made.id == before);
    if is_over || (key.is_free_after_failure && (has_failed || is_gone)) {
        tx.execute(REPLACE_KEY, &[&key.scope, &key.key, &fingerprint, run, &expires]).await?;
        return Ok(None);
    }
    let is_same = hash(&row, 0)? == *key.fingerprint.as_bytes();
    Ok(Some(if is_same { RunChanged::Existing(before) } else { RunChanged::Mismatch }))
}

async fn insert(tx: &Transaction<'_>, news: &[&NewRun]) -> Result<(), Failure> {
    let each = |new: &&NewRun| json_of(&new.steps.iter().map(|step| &step.id).collect::<Vec<&StepId>>());
    let step_ids = news.iter().map(each).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<Uuid> = news.iter().map(|new| *new.id.as_uuid()).collect();
    let jobs: Vec<&str> = news.iter().map(|new| new.job.as_str()).collect();
    let revisions: Vec<i64> = news.iter().map(|new| count_of(new.revision)).collect();
    let workers: Vec<Option<Uuid>> = news.iter().map(|new| new.worker.map(|worker| worker.0)).collect();
    let times: Vec<i64> = news.iter().map(|new| new.created_at.as_microsecond()).collect();
    let parents: Vec<Option<&str>> = news.iter().map(|new| new.traceparent.as_deref()).collect();
    let data = Columns::of(news.iter().map(|new| Some(&new.data)));
    let triggers = Columns::of(news.iter().map(|new| Some(&new.trigger)));
    let insert = tx.prepare_cached(INSERT).await?;
    tx.execute(
        &insert,
        &[
            &ids,
            &jobs,
            &revisions,
            &step_ids,
            &workers,
            &times,
            &parents,
            &data.digests,
            &data.sizes,
            &data.texts,
            &triggers.digests,
            &triggers.sizes,
            &triggers.texts,
        ],
    )
    .await?;
    Ok(())
}

/// The numbers and the holders of the runs that are their sessions' still, locked.
async fn held(tx: &Transaction<'_>, saves: &[(usize, &RunSaved)]) -> Result<HashMap<Uuid, (i64, Uuid)>, Failure> {
    let mut pairs: Vec<(Uuid, Uuid)> = saves.iter().map(|(_, saved)| (*saved.id.as_uuid(), saved.worker.0)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let (ids, workers): (Vec<Uuid>, Vec<Uuid>) = pairs.into_iter().unzip();
    let held = tx.prepare_cached(HELD).await?;
    let rows = tx.query(&held, &[&ids, &workers]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
}

async fn save(tx: &Transaction<'_>, saves: &[(i64, &RunSaved)]) -> Result<(), Failure> {
    let micros_of = |at: Option<Timestamp>| at.map(Timestamp::as_microsecond);
    let numbers: Vec<i64> = saves.iter().map(|(number, _)| *number).collect();
    let statuses: Vec<&str> = saves.iter().map(|(_, saved)| saved.status.as_str()).collect();
    let errors =
        saves.iter().map(|(_, saved)| saved.error.as_ref().map(text_of).transpose()).collect::<Result<Vec<_>, _>>()?;
    let started: Vec<_> = saves.iter().map(|(_, saved)| micros_of(saved.started_at)).collect();
    let ended: Vec<_> = saves.iter().map(|(_, saved)| micros_of(saved.ended_at)).collect();
    let last: Vec<_> = saves.iter().map(|(_, saved)| saved.events.last().map(|event| count_of(event.id))).collect();
    let keeps: Vec<_> = saves.iter().map(|(_, saved)| saved.hold == Hold::Keep).collect();
    let has_ended: Vec<_> = saves.iter().map(|(_, saved)| saved.hold == Hold::Ended).collect();
    let due: Vec<_> = saves
        .iter()
        .map(|(_, saved)| match saved.hold {
            Hold::Until(due) => Some(due.as_microsecond()),
            Hold::Keep | Hold::Ended => None,
        })
        .collect();
    let clears: Vec<_> = saves.iter().map(|(_, saved)| saved.clears_requests).collect();
    let statement = tx.prepare_cached(SAVE).await?;
    tx.execute(&statement, &[&numbers, &statuses, &errors, &started, &ended, &last, &keeps, &has_ended, &due, &clears])
        .await?;
    save_data(tx, saves).await?;
    let steps: Vec<_> =
        saves.iter().flat_map(|(number, saved)| saved.steps.iter().map(|step| (*number, step))).collect();
    save_steps(tx, &steps).await?;
    save_events(tx, saves).await?;
    for delivery in saves.iter().flat_map(|(_, saved)| &saved.deliveries) {
        deliveries::insert(tx, delivery).await?;
    }
    Ok(())
}

async fn save_data(tx: &Transaction<'_>, saves: &[(i64, &RunSaved)]) -> Result<(), Failure> {
    let changed: Vec<_> = saves.iter().filter(|(_, saved)| saved.data.is_some()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = changed.iter().map(|(number, _)| *number).collect();
    let data = Columns::of(changed.iter().map(|(_, saved)| saved.data.as_ref()));
    let statement = tx.prepare_cached(SAVE_DATA).await?;
    tx.execute(&statement, &[&numbers, &data.digests, &data.sizes, &data.texts]).await?;
    Ok(())
}

async fn save_steps(tx: &Transaction<'_>, steps: &[(i64, &RunStep)]) -> Result<(), Failure> {
    if steps.is_empty() {
        return Ok(());
    }
    let texts = |value: &dyn Fn(&RunStep) -> Result<Option<String>, Failure>| {
        steps.iter().map(|(_, step)| value(step)).collect::<Result<Vec<_>, _>>()
    };
    let numbers: Vec<i64> = steps.iter().map(|(number, _)| *number).collect();
    let ids: Vec<&str> = steps.iter().map(|(_, step)| step.id.as_str()).collect();
    let statuses: Vec<&str> = steps.iter().map(|(_, step)| step.status.as_str()).collect();
    let errors = texts(&|step| step.error.as_ref().map(text_of).transpose())?;
    let mistakes = texts(&|step| (!step.errors.is_empty()).then(|| text_of(&step.errors)).transpose())?;
    let next = texts(&|step| step.next.as_ref().map(json_of).transpose())?;
    let is_taken: Vec<bool> = steps.iter().map(|(_, step)| step.is_taken).collect();
    let due: Vec<_> = steps.iter().map(|(_, step)| step.due_at.map(Timestamp::as_microsecond)).collect();
    let tries: Vec<i64> = steps.iter().map(|(_, step)| i64::from(step.tries)).collect();
    let completions: Vec<_> = steps.iter().map(|(_, step)| step.completion.map(i64::from)).collect();
    let attempts = texts(&|step| text_of(&step.attempts).map(Some))?;
    let outputs = Columns::of(steps.iter().map(|(_, step)| step.output.as_ref()));
    let statement = tx.prepare_cached(SAVE_STEPS).await?;
    tx.execute(
        &statement,
        &[
            &numbers,
            &ids,
            &statuses,
            &errors,
            &mistakes,
            &next,
            &is_taken,
            &due,
            &tries,
            &completions,
            &attempts,
            &outputs.digests,
            &outputs.sizes,
            &outputs.texts,
        ],
    )
    .await?;
    Ok(())
}

async fn save_events(tx: &Transaction<'_>, saves: &[(i64, &RunSaved)]) -> Result<(), Failure> {
    let events: Vec<_> =
        saves.iter().flat_map(|(number, saved)| saved.events.iter().map(|event| (*number, event))).collect();
    if events.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = events.iter().map(|(number, _)| *number).collect();
    let ids: Vec<i64> = events.iter().map(|(_, event)| count_of(event.id)).collect();
    let steps: Vec<_> = events.iter().map(|(_, event)| event.step.as_ref().map(StepId::as_str)).collect();
    let statuses: Vec<&str> = events.iter().map(|(_, event)| event.status.as_str()).collect();
    let attempts: Vec<i64> = events.iter().map(|(_, event)| i64::from(event.attempts)).collect();
    let times: Vec<i64> = events.iter().map(|(_, event)| event.at.as_microsecond()).collect();
    let statement = tx.prepare_cached(SAVE_EVENTS).await?;
    tx.execute(&statement, &[&numbers, &ids, &steps, &statuses, &attempts, &times]).await?;
    Ok(())
}

/// JSON whose texts are others' words: of a guest, a server.
fn text_of(value: &impl serde::Serialize) -> Result<String, Failure> {
    Ok(storable(&json_of(value)?))
}

#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [KEY, KNOWN, REPLACE_KEY, INSERT, HELD, SAVE, SAVE_DATA, SAVE_STEPS, SAVE_EVENTS].map(str::to_owned).to_vec()
}
