//! Runs the same work for many items on several threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Returns the number of threads that read or write chunks, which also wait for the disk. Each holds a chunk and its
/// frame in memory, so that there are at most `limit`.
pub(super) fn chunk_threads(limit: usize) -> usize {
    (cores() + 2).min(limit)
}

/// Locks a mutex, even if it is poisoned: no holder leaves its data in an inconsistent state.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` for each item on up to `threads` threads, in any order. Returns the first error; items that were not
/// started by then are skipped.
pub(super) fn for_each<T: Sync, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                lock(&failed).get_or_insert(error);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    into_inner(failed).map_or(Ok(()), Err)
}

/// Runs `work` for each item on up to `threads` threads and passes the results to `take` in the order of the items.
/// Each thread holds at most one result that waits for its turn. Returns the first error of `work` or `take`.
pub(super) fn for_each_in_order<T: Sync, R, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
    take: impl FnMut(&T, R) -> Result<(), E> + Send,
) -> Result<(), E> {
    struct Turns<F> {
        /// The index whose turn it is; `None` after a failure.
        next: Option<usize>,
        take: F,
    }
    let places: Vec<usize> = (0..items.len()).collect();
    let (turns, moved) = (Mutex::new(Turns { next: Some(0), take }), Condvar::new());
    let end = || {
        lock(&turns).next = None;
        moved.notify_all();
    };
    for_each(&places, threads, |place| {
        let result = work(&items[*place]).inspect_err(|_| end())?;
        let waiting = |turns: &mut Turns<_>| turns.next.is_some_and(|next| next != *place);
        let mut turns = moved.wait_while(lock(&turns), waiting).unwrap_or_else(PoisonError::into_inner);
        if turns.next.is_none() {
            // The thread that failed returns the error.
            return Ok(());
        }
        let taken = (turns.take)(&items[*place], result);
        turns.next = taken.is_ok().then_some(place + 1);
        drop(turns);
        moved.notify_all();
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_passed_on_in_order_until_the_first_error() {
        let items: Vec<usize> = (0..200).collect();
        let slow = |item: &usize| {
            thread::sleep(std::time::Duration::from_micros((200 - *item as u64) * 7 % 300));
            Ok::<usize, usize>(*item)
        };
        let mut taken = Vec::new();
        let take = |_: &usize, item| {
            taken.push(item);
            Ok(())
        };
        for_each_in_order(&items, 8, slow, take).unwrap();
        assert_eq!(taken, items);
        let failing = |item: &usize| if *item == 50 { Err(*item) } else { Ok(*item) };
        assert_eq!(for_each_in_order(&items, 8, failing, |_, _| Ok(())), Err(50));
        let refuse = |item: &usize, _| if *item == 70 { Err(*item) } else { Ok(()) };
        assert_eq!(for_each_in_order(&items, 8, slow, refuse), Err(70));
    }

    #[test]
    fn each_item_is_processed_once_until_the_first_error() {
        let items: Vec<usize> = (0..1000).collect();
        let done = Mutex::new(Vec::new());
        for_each(&items, 8, |item| {
            done.lock().unwrap().push(*item);
            Ok::<(), ()>(())
        })
        .unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, items);
        let count = AtomicUsize::new(0);
        let result = for_each(&items, 8, |item| {
            count.fetch_add(1, Ordering::Relaxed);
            if *item == 10 { Err(*item) } else { Ok(()) }
        });
        assert_eq!(result, Err(10));
        assert!(count.into_inner() < 1000);
        assert_eq!(for_each(&[] as &[usize], 8, |_| Err(())), Ok(()));
    }
}
