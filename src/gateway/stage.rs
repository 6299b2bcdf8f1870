//! Tasks of one kind that start together, stop together, and are all awaited.

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
    names: HashMap<Id, String>,
}

impl Stage {
    /// No tasks yet. `kind` is what messages call each of them.
    pub fn new(kind: &'static str) -> Stage {
        Stage { kind, cancel: CancellationToken::new(), tasks: JoinSet::new(), names: HashMap::new() }
    }

    /// What its tasks watch to know that they should end.
    pub fn cancel_token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Starts a task.
    pub fn spawn<E: Display>(&mut self, name: &str, task: impl Future<Output = Result<(), E>> + Send + 'static) {
        let handle = self.tasks.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.names.insert(handle.id(), name.to_string());
    }

    /// Waits until one of the tasks ends though nobody asked it to; never returns while none does.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.tasks.join_next_with_id().await {
            Some(end) => match self.complaint(end) {
                Some(complaint) => anyhow!(complaint),
                None => anyhow!("a {} task ended too early", self.kind),
            },
            None => std::future::pending().await,
        }
    }

    /// Asks all tasks to end, waits for them, and logs those that ended badly.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        while let Some(end) = self.tasks.join_next_with_id().await {
            if let Some(complaint) = self.complaint(end) {
                error!(error = %complaint, "a part of the gateway ended badly");
            }
        }
    }

    fn complaint(&mut self, end: Result<(Id, Result<(), String>), JoinError>) -> Option<String> {
        let (id, error) = match end {
            Ok((_, Ok(()))) => return None,
            Ok((id, Err(error))) => (id, error),
            Err(panic) => (panic.id(), panic.to_string()),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        Some(format!("{} {name}: {error}", self.kind))
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
}
