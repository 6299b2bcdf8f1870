//! Tasks of one kind that start together or one by one, stop together or one by one, and are all awaited.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// A group of named tasks.
pub struct Stage {
    kind: &'static str,
    cancel: CancellationToken,
    tasks: JoinSet<Result<(), String>>,
    names: HashMap<Id, (String, CancellationToken)>,
    /// Tasks that ended by themselves while another was being stopped; told by [`Stage::ended`].
    early: Vec<anyhow::Error>,
}

/// The end of a task.
type End = Result<(Id, Result<(), String>), JoinError>;

impl Stage {
    /// No tasks yet. `kind` is what messages call each of them.
    pub fn new(kind: &'static str) -> Stage {
        let (cancel, tasks) = (CancellationToken::new(), JoinSet::new());
        Stage { kind, cancel, tasks, names: HashMap::new(), early: Vec::new() }
    }

    /// What its tasks watch to know that they should end.
    pub fn cancel_token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Starts a task that ends when all do.
    pub fn spawn<E: Display>(&mut self, name: &str, task: impl Future<Output = Result<(), E>> + Send + 'static) {
        self.spawn_until(name, |_| task);
    }

    /// Starts a task that can also be stopped alone: it is given what it has to watch.
    pub fn spawn_until<E: Display, T>(&mut self, name: &str, task: impl FnOnce(CancellationToken) -> T)
    where
        T: Future<Output = Result<(), E>> + Send + 'static,
    {
        let cancel = self.cancel.child_token();
        let task = task(cancel.clone());
        let handle = self.tasks.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.names.insert(handle.id(), (name.to_string(), cancel));
    }

    /// Waits until one of the tasks ends though nobody asked it to; never returns while none does.
    pub async fn ended(&mut self) -> anyhow::Error {
        if let Some(early) = self.early.pop() {
            return early;
        }
        match self.tasks.join_next_with_id().await {
            Some(end) => self.too_early(end),
            None => std::future::pending().await,
        }
    }

    /// Asks the tasks of these names to end, waits for them, and logs those that ended badly.
    pub async fn stop_some(&mut self, names: &[String]) {
        let mut ending: Vec<Id> = Vec::new();
        for (id, (name, cancel)) in &self.names {
            if names.contains(name) {
                cancel.cancel();
                ending.push(*id);
            }
        }
        while !ending.is_empty() {
            let Some(end) = self.tasks.join_next_with_id().await else { return };
            let id = id_of(&end);
            match ending.iter().position(|known| *known == id) {
                Some(at) => {
                    ending.swap_remove(at);
                    self.tell(end);
                }
                None => {
                    let early = self.too_early(end);
                    self.early.push(early);
                }
            }
        }
    }

    /// Asks all tasks to end, waits for them, and logs those that ended badly.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        while let Some(end) = self.tasks.join_next_with_id().await {
            self.tell(end);
        }
    }

    fn tell(&mut self, end: End) {
        if let Some(complaint) = self.complaint(end) {
            error!(error = %complaint, "a part of the gateway ended badly");
        }
    }

    fn too_early(&mut self, end: End) -> anyhow::Error {
        match self.complaint(end) {
            Some(complaint) => anyhow!(complaint),
            None => anyhow!("a {} task ended too early", self.kind),
        }
    }

    fn complaint(&mut self, end: End) -> Option<String> {
        let name = self.names.remove(&id_of(&end)).map(|(name, _)| name).unwrap_or_default();
        let error = match end {
            Ok((_, Ok(()))) => return None,
            Ok((_, Err(error))) => error,
            Err(panic) => panic.to_string(),
        };
        Some(format!("{} {name}: {error}", self.kind))
    }
}

fn id_of(end: &End) -> Id {
    match end {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_or_panics_is_named() {
        let mut stage = Stage::new("bus");
        stage.spawn("line1", async { Err("the port caught fire") });
        assert_eq!(stage.ended().await.to_string(), "bus line1: the port caught fire");
        stage.spawn("line2", async { if stage_is_odd() { panic!("odd") } else { Ok::<(), String>(()) } });
        assert!(stage.ended().await.to_string().starts_with("bus line2: task"));
    }

    fn stage_is_odd() -> bool {
        true
    }

    #[tokio::test]
    async fn stopping_waits_for_every_task() {
        let mut stage = Stage::new("bus");
        let (token, (done, mut seen)) = (stage.cancel_token(), tokio::sync::mpsc::channel(1));
        stage.spawn("line1", async move {
            token.cancelled().await;
            done.send(()).await.map_err(|error| error.to_string())
        });
        stage.stop().await;
        assert_eq!(seen.recv().await, Some(()));
    }

    #[tokio::test]
    async fn one_task_is_stopped_and_the_others_go_on_and_are_still_watched() {
        let mut stage = Stage::new("bus");
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        stage.spawn("line1", async move { released.await.map_err(|_| "the port caught fire") });
        for name in ["line2", "line3"] {
            stage.spawn_until(name, |cancel| async move {
                cancel.cancelled().await;
                Ok::<(), String>(())
            });
        }
        stage.stop_some(&["line2".into(), "unknown".into()]).await;
        assert_eq!(stage.names.len(), 2);
        drop(release);
        tokio::task::yield_now().await;
        stage.stop_some(&["line3".into()]).await;
        assert_eq!(stage.ended().await.to_string(), "bus line1: the port caught fire");
    }
}
