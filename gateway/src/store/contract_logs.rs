//! What every backend has to do with what executions logged: the contract's part on logs.

use jiff::Timestamp;
use proptest::sample::Index;

use super::contract::{FIRST, belonging_to, insert_all, line, module, record, record_all};
use super::{Page, PageRequest, Store};
use crate::model::{ExecutionId, ExecutionRecord, Level, Module, ModuleId, Status};

const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

/// Each execution has its own lines, of the level that is asked for and above, and only where it is of the module
/// that is asked for.
pub(crate) async fn p36_execution_log_filtering(
    store: &dyn Store,
    modules: Vec<Module>,
    records: Vec<(ExecutionRecord, Index)>,
) {
    insert_all(store, &modules).await;
    let records = belonging_to(&modules, records);
    record_all(store, &records).await;
    for record in &records {
        for level in LEVELS {
            let mut expected = record.clone();
            expected.lines.retain(|line| line.level >= level);
            let all = store.execution_logs(record.execution_id, None, level, FIRST).await.unwrap();
            assert_eq!(all, Some(Page { items: vec![expected], total: 1 }));
            for module in &modules {
                let of_one = store.execution_logs(record.execution_id, Some(module.id), level, FIRST).await.unwrap();
                let is_its = module.id == record.module_id;
                assert_eq!(of_one, if is_its { all.clone() } else { Some(Page { items: Vec::new(), total: 0 }) });
            }
        }
    }
}

pub(crate) async fn logs_are_narrowed_by_level_and_module(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    let lines: Vec<_> = LEVELS.iter().map(|level| line(*level, level.as_str())).collect();
    let run = ExecutionRecord { lines: lines.clone(), ..record(&module, Status::Completed) };
    let silent = record(&module, Status::Completed);
    record_all(store, &[run.clone(), silent.clone()]).await;
    for (from, level) in LEVELS.into_iter().enumerate() {
        let page = store.execution_logs(run.execution_id, Some(module.id), level, FIRST).await.unwrap().unwrap();
        assert_eq!(page.items[0].lines, lines[from..]);
    }
    let page = store.execution_logs(silent.execution_id, None, Level::Debug, FIRST).await.unwrap().unwrap();
    assert_eq!((page.items, page.total), (vec![silent], 1));
    let page = store.execution_logs(run.execution_id, Some(ModuleId::generate()), Level::Debug, FIRST).await.unwrap();
    assert_eq!(page, Some(Page { items: Vec::new(), total: 0 }));
    let second = PageRequest { page: 2, limit: 1 };
    let page = store.execution_logs(run.execution_id, None, Level::Debug, second).await.unwrap();
    assert_eq!(page, Some(Page { items: Vec::new(), total: 1 }));
    assert_eq!(
        store.execution_logs(ExecutionId::starting(Timestamp::UNIX_EPOCH), None, Level::Debug, FIRST).await.unwrap(),
        None
    );
}
