use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

#[derive(Debug, PartialEq)]
struct Entry(u64);

impl Weigh for Entry {
    fn bytes(&self) -> u64 {
        self.0
    }
}

type TestCache = Arc<Cache<Entry, String>>;

fn cache(entries_max: usize, bytes_max: u64) -> TestCache {
    Arc::new(Cache::new(Bounds { bytes_max, entries_max }, Metrics::new()))
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    /// P27: what was loaded is found again without being loaded again.
    #[test]
    fn p27_module_caching(asked in prop::collection::vec(0_u8..10, 1..50)) {
        let cache = cache(10, u64::MAX);
        let loads = Arc::new(AtomicUsize::new(0));
        let distinct = asked.iter().collect::<std::collections::HashSet<_>>().len();
        runtime().block_on(async {
            for number in &asked {
                let (loads, number) = (Arc::clone(&loads), *number);
                let load = async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    Ok(Entry(u64::from(number)))
                };
                assert_eq!(*cache.get_or_load(digest(number), load).await.unwrap(), Entry(u64::from(number)));
            }
        });
        prop_assert_eq!(loads.load(Ordering::SeqCst), distinct);
    }

    /// P28: the entries that are left are the most recently used ones that fit.
    #[test]
    fn p28_lru_cache_eviction(
        asked in prop::collection::vec((0_u8..20, 1_u64..100), 1..80),
        entries_max in 1_usize..10,
        bytes_max in 1_u64..500,
    ) {
        let cache = cache(entries_max, bytes_max);
        // The model: most recently used last.
        let mut model: Vec<(u8, u64)> = Vec::new();
        runtime().block_on(async {
            for (number, bytes) in asked {
                cache.get_or_load(digest(number), async move { Ok(Entry(bytes)) }).await.unwrap();
                let known = model.iter().position(|(known, _)| *known == number);
                let entry = known.map_or((number, bytes), |at| model.remove(at));
                model.push(entry);
                while model.len() > 1
                    && (model.len() > entries_max || model.iter().map(|(_, bytes)| bytes).sum::<u64>() > bytes_max)
                {
                    model.remove(0);
                }
            }
        });
        prop_assert_eq!(cache.size(), (model.len(), model.iter().map(|(_, bytes)| bytes).sum()));
        for (number, bytes) in model {
            let kept = cache.get(&digest(number));
            prop_assert_eq!(kept.as_deref(), Some(&Entry(bytes)));
        }
    }
}

#[tokio::test]
async fn concurrent_misses_load_once_and_a_failure_is_told_to_all_and_forgotten() {
    let cache = cache(10, u64::MAX);
    let loads = Arc::new(AtomicUsize::new(0));
    let (open, gate) = tokio::sync::watch::channel(false);
    let asks: Vec<_> = (0..16)
        .map(|_| {
            let (cache, loads, mut gate) = (Arc::clone(&cache), Arc::clone(&loads), gate.clone());
            tokio::spawn(async move {
                let load = async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    gate.wait_for(|open| *open).await.unwrap();
                    Err("no".to_owned())
                };
                cache.get_or_load(digest(1), load).await
            })
        })
        .collect();
    // All wait on one load before it may end.
    tokio::task::yield_now().await;
    open.send(true).unwrap();
    for ask in asks {
        assert_eq!(ask.await.unwrap().unwrap_err(), "no");
    }
    let after_failure = loads.load(Ordering::SeqCst);
    assert!(cache.get_or_load(digest(1), async { Ok(Entry(1)) }).await.is_ok());
    assert!(after_failure >= 1);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_load_for_others() {
    let cache = cache(10, u64::MAX);
    let (open, mut gate) = tokio::sync::watch::channel(false);
    let leaving = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            let load = async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok(Entry(7))
            };
            cache.get_or_load(digest(1), load).await
        })
    };
    while cache.lock().loading.is_empty() {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    open.send(true).unwrap();
    let found = cache.get_or_load(digest(1), async { Err("loaded a second time".to_owned()) }).await;
    assert_eq!(*found.unwrap(), Entry(7));
}

#[tokio::test]
async fn a_load_that_runs_can_be_waited_for_and_then_be_forgotten() {
    let cache = cache(10, u64::MAX);
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let load = async move {
        released.await.unwrap();
        Ok(Entry(1))
    };
    let mut asked = Box::pin(cache.get_or_load(digest(1), load));
    assert!(futures_util::poll!(asked.as_mut()).is_pending());
    let one = digest(1);
    let mut settled = Box::pin(cache.settled(&one));
    assert!(futures_util::poll!(settled.as_mut()).is_pending());
    release.send(()).unwrap();
    settled.await;
    cache.remove(&one);
    assert!(cache.get(&one).is_none());
    cache.settled(&digest(2)).await;
}
