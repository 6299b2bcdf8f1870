//! Opening the database: its settings, its migrations, its queues.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqlSafeStr, SqliteConnection};

use super::{DbError, DbErrorKind, Reader, signed, table, unsigned};
use crate::model::{Durability, Timestamp};
use crate::store::episode::{GapReason, Loss};
use crate::store::policy::ROW_OVERHEAD;
use crate::store::record::Record;

/// Every migration, oldest first: version, description, SQL. A file of `migrations/` that was released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "queues", include_str!("../../../migrations/0001_queues.sql")),
    (2, "broker", include_str!("../../../migrations/0002_broker.sql")),
    (3, "uplinks", include_str!("../../../migrations/0003_uplinks.sql")),
    (4, "clocks", include_str!("../../../migrations/0004_clocks.sql")),
    (5, "pieces", include_str!("../../../migrations/0005_pieces.sql")),
    (6, "servers", include_str!("../../../migrations/0006_servers.sql")),
];

/// The version of the last migration.
pub(in crate::store) fn newest_schema() -> u64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| unsigned(*version))
}

/// The writer's page cache in KiB: the right edge of each table and what a range delete touches.
const WRITER_CACHE: u32 = 2048;

/// The database, with the one connection that writes.
pub(in crate::store) struct Database {
    pub(super) connection: SqliteConnection,
    path: PathBuf,
    durability: Durability,
    file: FileId,
    page_limit: Option<u64>,
    #[cfg(test)]
    pub(in crate::store) fault: super::Fault,
}

/// SQLite's page size, in bytes.
const PAGE: u64 = 4096;

/// Which file it is, whatever it is called: device and inode.
type FileId = (u64, u64);

/// Why it does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum OpenError {
    /// A migration in it is unknown here.
    Newer { theirs: i64, ours: i64 },
    /// Something else.
    Db(DbError),
}

impl From<DbError> for OpenError {
    fn from(error: DbError) -> OpenError {
        OpenError::Db(error)
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> OpenError {
        OpenError::Db(error.into())
    }
}

impl Database {
    /// Opens the database, or makes it, and brings its tables up to date.
    ///
    /// `check` reads the whole file for pages that can't be (0.2 s for 100 MB on an SSD).
    pub(in crate::store) async fn open(
        path: &Path,
        durability: Durability,
        check: bool,
    ) -> Result<Database, OpenError> {
        let connection = connect(path, durability, WRITER_CACHE, true).await?;
        let file = file_id(path).map_err(sqlx::Error::Io)?;
        let mut database = Database {
            connection,
            path: path.to_owned(),
            durability,
            file,
            page_limit: None,
            #[cfg(test)]
            fault: super::Fault::Nothing,
        };
        match database.prepare(check).await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.abandon().await;
                Err(error)
            }
        }
    }

    async fn prepare(&mut self, check: bool) -> Result<(), OpenError> {
        if check {
            self.quick_check().await?;
        }
        self.migrate().await
    }

    /// Closes the connection and waits for it: SQLite removes its log by name, and that name may soon be another database's.
    pub(in crate::store) async fn abandon(self) {
        // It is abandoned because something has failed, and that was reported.
        let _ = self.connection.close().await;
    }

    /// Fails when another file, or none, has the database's name: SQLite goes on writing to the one that it opened, and what it
    /// commits there is gone with the process.
    pub(in crate::store) fn is_in_place(&self) -> Result<(), DbError> {
        let why = match file_id(&self.path) {
            Ok(file) if file == self.file => return Ok(()),
            Ok(_) => "another file is in its place".into(),
            Err(error) => error.to_string(),
        };
        Err(DbError { kind: DbErrorKind::Gone, text: why })
    }

    /// Takes a new connection: after a failed write, SQLite's own state is not to be relied upon.
    pub(in crate::store) async fn reopen(&mut self) -> Result<(), DbError> {
        let fresh = connect(&self.path, self.durability, WRITER_CACHE, false).await?;
        // Whatever it says, it was in trouble.
        let _ = std::mem::replace(&mut self.connection, fresh).close().await;
        self.apply_limit().await
    }

    /// From now on commits survive at least what this asks for.
    pub(in crate::store) async fn harden(&mut self, durability: Durability) -> Result<(), DbError> {
        if durability <= self.durability {
            return Ok(());
        }
        self.durability = durability;
        self.reopen().await
    }

    /// A connection of its own that reads one queue.
    pub(in crate::store) fn reader(&self, queue: i64) -> Reader {
        Reader::new(self.path.clone(), queue)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All queues that the database has, also those that nobody names any more.
    pub(in crate::store) async fn records(&mut self) -> Result<Vec<Record>, DbError> {
        let rows = sqlx::query("SELECT * FROM queues ORDER BY id").fetch_all(&mut self.connection).await?;
        Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
    }

    /// Makes a queue.
    pub(in crate::store) async fn create_queue(&mut self, name: &str, epoch: u32) -> Result<(), DbError> {
        let mut tx = self.connection.begin().await?;
        let id: i64 = sqlx::query("INSERT INTO queues (name, epoch) VALUES (?, ?) RETURNING id")
            .bind(name)
            .bind(epoch)
            .fetch_one(&mut *tx)
            .await?
            .get(0);
        let create = format!(
            "CREATE TABLE {} (n INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, \
             retain INTEGER NOT NULL, ts INTEGER NOT NULL, crc32 INTEGER NOT NULL, properties BLOB)",
            table(id)
        );
        sqlx::query(AssertSqlSafe(create)).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Gives a queue another name.
    pub(in crate::store) async fn rename_queue(&mut self, id: i64, name: &str) -> Result<(), DbError> {
        let rename = sqlx::query("UPDATE queues SET name = ? WHERE id = ?").bind(name).bind(id);
        rename.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Removes a queue with all its rows.
    pub(in crate::store) async fn drop_queue(&mut self, id: i64) -> Result<(), DbError> {
        let mut tx = self.connection.begin().await?;
        sqlx::query(AssertSqlSafe(format!("DROP TABLE IF EXISTS {}", table(id)))).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM aside WHERE queue = ?").bind(id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM clocks WHERE queue = ?").bind(id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM uplink_received WHERE queue = ?").bind(id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM uplink_subscribed WHERE queue = ?").bind(id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM queues WHERE id = ?").bind(id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// The highest number in a queue's table, 0 when it is empty. One step down the tree, whatever its size.
    pub(in crate::store) async fn highest(&mut self, id: i64) -> Result<u64, DbError> {
        let sql = format!("SELECT coalesce(max(n), 0) FROM {}", table(id));
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await?;
        Ok(unsigned(row.try_get(0)?))
    }

    /// When the first row of a queue above `n` was queued; 0 when that is not known.
    pub(in crate::store) async fn first_above(&mut self, id: i64, n: u64) -> Result<Option<i64>, DbError> {
        let sql = format!("SELECT ts FROM {} WHERE n > ? ORDER BY n LIMIT 1", table(id));
        let row = sqlx::query(AssertSqlSafe(sql)).bind(signed(n)).fetch_optional(&mut self.connection).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The last of the first rows of a queue above `n` with which `bytes` are reached, of so many `rows` at most; `None` when there are none.
    pub(in crate::store) async fn reach(
        &mut self,
        id: i64,
        n: u64,
        bytes: u64,
        rows: u64,
    ) -> Result<Option<u64>, DbError> {
        let sql = format!(
            "SELECT max(n) FROM (SELECT n, sum(size) OVER (ORDER BY n) - size AS before FROM \
             (SELECT n, octet_length(topic) + octet_length(payload) + coalesce(octet_length(properties), 0) + {ROW_OVERHEAD} AS size \
             FROM {} WHERE n > ? ORDER BY n LIMIT ?)) WHERE before < ?",
            table(id)
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(signed(n)).bind(signed(rows)).bind(signed(bytes));
        let row = query.fetch_one(&mut self.connection).await?;
        Ok(row.try_get::<Option<i64>, _>(0)?.map(unsigned))
    }

    /// The bytes of all pages, and of those that hold nothing.
    pub(in crate::store) async fn figures(&mut self) -> Result<(u64, u64), DbError> {
        let all = "SELECT page_count * page_size, freelist_count * page_size \
                   FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let row = sqlx::query(all).fetch_one(&mut self.connection).await?;
        Ok((unsigned(row.try_get(0)?), unsigned(row.try_get(1)?)))
    }

    /// Writes the file anew without the pages that hold nothing. Takes as long as writing what is left.
    pub(in crate::store) async fn rebuild(&mut self) -> Result<(), DbError> {
        sqlx::query("VACUUM").execute(&mut self.connection).await?;
        self.cut_log().await
    }

    /// Brings everything from the log into the file, as far as no reader needs it, and gives the log's room back if that was all.
    pub(in crate::store) async fn cut_log(&mut self) -> Result<(), DbError> {
        // A reader that takes its time must not hold up the writer: it is tried again later.
        let cut = "PRAGMA busy_timeout = 100; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = 5000";
        sqlx::raw_sql(cut).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Lets the file grow to `bytes` and no further, whatever was accounted.
    pub(in crate::store) async fn limit(&mut self, bytes: u64) -> Result<(), DbError> {
        self.page_limit = Some(bytes / PAGE);
        self.apply_limit().await
    }

    async fn apply_limit(&mut self) -> Result<(), DbError> {
        let Some(pages) = self.page_limit else { return Ok(()) };
        // SQLite takes a limit below the present size for the present size.
        let limit = format!("PRAGMA max_page_count = {}", pages.clamp(1, u64::from(u32::MAX - 1)));
        sqlx::query(AssertSqlSafe(limit)).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Brings everything from the log into the file and closes the connection.
    pub(in crate::store) async fn close(mut self) -> Result<(), DbError> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }

    /// Lets the file grow by no more than `pages`, as a full disk would.
    #[cfg(test)]
    pub(in crate::store) async fn fill_disk(&mut self, pages: u32) -> Result<(), DbError> {
        let size: i64 = sqlx::query("PRAGMA page_count").fetch_one(&mut self.connection).await?.try_get(0)?;
        let limit = format!("PRAGMA max_page_count = {}", size + i64::from(pages));
        sqlx::query(AssertSqlSafe(limit)).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn quick_check(&mut self) -> Result<(), OpenError> {
        let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(&mut self.connection).await?;
        let verdict: String = row.try_get(0)?;
        if verdict == "ok" {
            return Ok(());
        }
        Err(OpenError::Db(DbError { kind: DbErrorKind::Damaged, text: verdict }))
    }

    async fn migrate(&mut self) -> Result<(), OpenError> {
        let migrations = MIGRATIONS.iter().map(|&(version, description, sql)| {
            Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
        });
        match Migrator::with_migrations(migrations.collect()).run(&mut self.connection).await {
            Ok(()) => Ok(()),
            Err(MigrateError::VersionMissing(theirs) | MigrateError::VersionMismatch(theirs)) => {
                Err(OpenError::Newer { theirs, ours: MIGRATIONS.last().map_or(0, |(version, ..)| *version) })
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(error.into()),
            Err(other) => Err(OpenError::Db(DbError { kind: DbErrorKind::Other, text: other.to_string() })),
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Opens a connection with its settings. Only with `create` is a file made where there is none.
///
/// The settings are statements of ours and not sqlx's options: when they fail, as they do on a damaged file, the connection is
/// closed before this returns.
pub(super) async fn connect(
    path: &Path,
    durability: Durability,
    cache_kib: u32,
    create: bool,
) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(256)
        // A row may hold a large payload: who reads many asks for few of them then.
        .row_buffer_size(128)
        // The caller logs what fails, once; and a slow card is no news worth a warning each time.
        .disable_statement_logging();
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    // After a burst the log is cut back to 16 MiB, four times what a checkpoint leaves.
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{cache_kib}; \
         PRAGMA journal_size_limit = 16777216"
    );
    let mut connection = options.connect().await?;
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await {
        connection.close().await?;
        return Err(error);
    }
    Ok(connection)
}

pub(super) fn record(row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let number = |column: &str| row.try_get::<i64, _>(column).map(unsigned);
    let time = |column: &str| row.try_get::<i64, _>(column).map(|ts| (ts != 0).then_some(Timestamp(ts)));
    let gap_rows = number("gap_rows")?;
    let untold = Loss {
        dropped: gap_rows,
        from: time("gap_from")?,
        to: time("gap_to")?,
        reason: GapReason::from_code(row.try_get("gap_reason")?),
    };
    Ok(Record {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        epoch: u32::try_from(number("epoch")?).unwrap_or(0),
        fresh: number("fresh")? != 0,
        // A wreck may be of a version that had no such column.
        server: row.try_get("server").unwrap_or_default(),
        next_n: number("next_n")?,
        done: number("done")?,
        recorded: number("recorded")?,
        depth: number("depth")?,
        bytes: number("bytes")?,
        dropped: number("dropped")?,
        set_aside: number("set_aside")?,
        untold: (gap_rows > 0).then_some(untold),
    })
}
