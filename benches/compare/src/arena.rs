//! Where the legs are run: the run's directory, the programs, the cores, and PostgreSQL, which is started once. Redis and Holdfast are
//! started anew for each leg: that takes less time than emptying them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::ask::Ids;
use crate::checker::{Answered, Told, Verdict, judge};
use crate::cores::Cores;
use crate::front::{Behind, ECHO, RESERVE};
use crate::load::{Length, Load, Setting, asked, drive, http_lanes, native_lanes};
use crate::plan::{Rival, Way, Who};
use crate::server::{End, Server, User, free_port};
use crate::store::Store;
use crate::store::postgres::{self, Postgres};
use crate::store::redis::Redis;
use crate::table::Leg;
use crate::trouble::Trouble;
use crate::{holdfast, tune};

/// A floor is steady: it needs no longer.
const FLOOR: Duration = Duration::from_secs(1);
/// Keys that are sent again after a leg.
const AGAIN: usize = 64;

/// The programs of a run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Holdfast.
    pub(crate) holdfast: PathBuf,
    /// `redis-server`.
    pub(crate) redis: PathBuf,
    /// Where `postgres` and `initdb` are.
    pub(crate) postgres_bin: PathBuf,
    /// This one, for fronts and floors.
    pub(crate) own: PathBuf,
}

/// The run's directory, removed with all that is in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A directory of one leg. What is left unwritten of it never has to be written.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
        fs::remove_file(self.0.with_extension("log")).ok();
    }
}

/// The arena.
#[derive(Debug)]
pub(crate) struct Arena {
    cores: Cores,
    programs: Programs,
    connections: usize,
    length: Length,
    /// How each rival is asked natively, once it is known.
    pub(crate) settings: Vec<(Who, Setting)>,
    /// Ended before its directory is removed.
    postgres: Option<(Server, u16)>,
    directory: Directory,
}

impl Arena {
    /// Makes the run's directory.
    pub(crate) fn new(
        parent: &Path,
        cores: Cores,
        programs: Programs,
        connections: usize,
        length: Length,
    ) -> Result<Self, Trouble> {
        let path = parent.join(format!("holdfast-compare-{}", std::process::id()));
        fs::create_dir(&path).map_err(Trouble::system(format!("make {}", path.display())))?;
        let directory = Directory(path);
        // PostgreSQL runs as somebody else and has to get through.
        fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o711))
            .map_err(Trouble::system("open the directory"))?;
        if in_memory(&directory.0) {
            return Err(Trouble::Unexpected(format!(
                "{} lies in memory, where nothing is durable: name another place with --dir",
                directory.0.display()
            )));
        }
        Ok(Self {
            cores,
            programs,
            connections,
            length,
            settings: Vec::new(),
            postgres: None,
            directory,
        })
    }

    fn place(&self) -> Result<Place, Trouble> {
        let path = self.directory.0.join("leg");
        fs::create_dir(&path).map_err(Trouble::system("make a directory"))?;
        let place = Place(path);
        // What earlier legs left unwritten is written now and not during this one.
        let opened = fs::File::open(&place.0).map_err(Trouble::system("open a directory"))?;
        rustix::fs::syncfs(opened).map_err(|error| Trouble::system("sync")(error.into()))?;
        Ok(place)
    }

    /// Makes a cluster and starts it.
    pub(crate) async fn start_postgres(&mut self, user: User) -> Result<(), Trouble> {
        let place = self.directory.0.join("postgres");
        fs::create_dir(&place).map_err(Trouble::system("make a directory"))?;
        if let Some((user, group)) = user {
            chown(&place, Some(user), Some(group)).map_err(Trouble::system("give a directory away"))?;
        }
        let start = |program: &str, arguments: &[&str]| {
            let program = self.programs.postgres_bin.join(program);
            Server::start(
                &self.cores,
                &program,
                arguments,
                &place,
                user,
                End::Quit,
                Stdio::null(),
            )
        };
        let log = || fs::read_to_string(place.with_extension("log")).unwrap_or_default();
        let mut initdb = start(
            "initdb",
            &[
                "-D",
                "data",
                "-U",
                postgres::USER,
                "-A",
                "trust",
                "-N",
                "--locale=C",
                "-E",
                "UTF8",
            ],
        )?;
        if !initdb.ended().await?.success() {
            return Err(Trouble::Server(format!("initdb failed: {}", log())));
        }
        let port = free_port()?;
        let port_text = port.to_string();
        let mut arguments = vec!["-D", "data", "-p", &port_text];
        for setting in POSTGRES_SETTINGS {
            arguments.extend(["-c", setting]);
        }
        let mut server = start("postgres", &arguments)?;
        server.answers(async || postgres::ready(port).await).await?;
        postgres::make_schema(port).await?;
        self.postgres = Some((server, port));
        Ok(())
    }

    /// The setting of a rival; the least one before it was looked for.
    fn setting(&self, who: Who) -> Setting {
        let known = self.settings.iter().find(|(known, _)| *known == who);
        known.map_or(tune::candidates(who)[0], |(_, setting)| *setting)
    }

    /// A leg of Holdfast.
    pub(crate) async fn holdfast(&self) -> Result<Leg, Trouble> {
        let place = self.place()?;
        let arguments = [
            "serve",
            "--data-dir",
            "data",
            "--listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
            "--set",
            "log.level=warn",
        ];
        let program = &self.programs.holdfast;
        let (_server, address) = Server::listening(&self.cores, program, &arguments, &place.0).await?;
        holdfast::fill(address).await?;
        let lanes = http_lanes(address, self.connections, RESERVE, false).await?;
        let load = drive(lanes, self.length, &self.cores).await;
        let found = holdfast::found(address, &load.told, &sample(&load.told)).await?;
        Ok(leg(self.length, load, |told| Some(judge(told, &found))))
    }

    /// A leg of a rival.
    pub(crate) async fn rival(&self, rival: Rival) -> Result<Leg, Trouble> {
        let setting = self.setting(rival.who);
        match (rival.who, rival.way) {
            (Who::Echo, _) => self.echo().await,
            (Who::Domain, _) => self.floor("domain").await,
            (Who::Syncs, _) => self.floor("syncs").await,
            (who, Way::Front) => self.behind_axum(who, setting).await,
            (who, Way::Native | Way::Bare) => self.native(who, setting, self.length).await,
        }
    }

    /// A leg of a store by its own client.
    pub(crate) async fn native(&self, who: Who, setting: Setting, length: Length) -> Result<Leg, Trouble> {
        let place = self.place()?;
        let (_server, store, _) = self.store(who, setting.connections, &place.0).await?;
        let load = drive(native_lanes(&store, setting), length, &self.cores).await;
        checked(length, load, &store).await
    }

    async fn behind_axum(&self, who: Who, setting: Setting) -> Result<Leg, Trouble> {
        let place = self.place()?;
        // The checker's own connection.
        let (_server, store, port) = self.store(who, 1, &place.0).await?;
        let behind = match who {
            Who::Postgres => Behind::Postgres,
            Who::PostgresBatched => Behind::PostgresBatched,
            Who::RedisAlways | Who::RedisEverysec | Who::Echo | Who::Domain | Who::Syncs => Behind::Redis,
        };
        let texts = [
            clap::ValueEnum::to_possible_value(&behind)
                .map_or(String::new(), |name| name.get_name().to_owned()),
            port.to_string(),
            setting.connections.to_string(),
            setting.batch.to_string(),
        ];
        let arguments = [
            "front",
            "--behind",
            &texts[0],
            "--port",
            &texts[1],
            "--connections",
            &texts[2],
            "--batch",
            &texts[3],
        ];
        let (_front, address) =
            Server::listening(&self.cores, &self.programs.own, &arguments, &place.0).await?;
        let lanes = http_lanes(address, self.connections, RESERVE, false).await?;
        let load = drive(lanes, self.length, &self.cores).await;
        checked(self.length, load, &store).await
    }

    /// An empty store with the hot variant; a server of its own, or PostgreSQL emptied.
    async fn store(
        &self,
        who: Who,
        connections: usize,
        place: &Path,
    ) -> Result<(Option<Server>, Arc<Store>, u16), Trouble> {
        let (server, store, port) = match who {
            Who::Postgres | Who::PostgresBatched => {
                let running = self.postgres.as_ref();
                let (_, port) =
                    running.ok_or_else(|| Trouble::Server("PostgreSQL was not started".to_owned()))?;
                (
                    None,
                    Store::Postgres(Postgres::connect(*port, connections).await?),
                    *port,
                )
            }
            Who::RedisAlways | Who::RedisEverysec | Who::Echo | Who::Domain | Who::Syncs => {
                let fsync = if who == Who::RedisAlways {
                    "always"
                } else {
                    "everysec"
                };
                let port = free_port()?;
                let server = self.redis(port, fsync, place).await?;
                (
                    Some(server),
                    Store::Redis(Redis::connect(port, connections).await?),
                    port,
                )
            }
        };
        store.fill().await?;
        Ok((server, Arc::new(store), port))
    }

    async fn redis(&self, port: u16, fsync: &str, place: &Path) -> Result<Server, Trouble> {
        let port_text = port.to_string();
        let arguments = [
            "--port",
            &port_text,
            "--bind",
            "127.0.0.1",
            "--dir",
            ".",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            fsync,
            "--auto-aof-rewrite-percentage",
            "0",
            "--daemonize",
            "no",
        ];
        let program = &self.programs.redis;
        let mut server = Server::start(
            &self.cores,
            program,
            &arguments,
            place,
            None,
            End::Kill,
            Stdio::null(),
        )?;
        server
            .answers(async || Redis::connect(port, 1).await.is_ok())
            .await?;
        Ok(server)
    }

    async fn echo(&self) -> Result<Leg, Trouble> {
        let place = self.place()?;
        let (_server, address) =
            Server::listening(&self.cores, &self.programs.own, &["echo"], &place.0).await?;
        let lanes = http_lanes(address, self.connections, ECHO, true).await?;
        let load = drive(lanes, self.length, &self.cores).await;
        Ok(leg(self.length, load, |_| None))
    }

    /// A floor that measures itself, on the servers' cores.
    async fn floor(&self, name: &str) -> Result<Leg, Trouble> {
        let place = self.place()?;
        let told = place.0.join("told");
        let output = fs::File::create(&told).map_err(Trouble::system("make a file"))?;
        let seconds = FLOOR.as_secs().to_string();
        let mut child = Server::start(
            &self.cores,
            &self.programs.own,
            &[name, "--seconds", &seconds],
            &place.0,
            None,
            End::Kill,
            output.into(),
        )?;
        let status = child.ended().await?;
        let text = fs::read_to_string(&told).map_err(Trouble::system("read a figure"))?;
        let rate = text.trim().parse().ok().filter(|_| status.success());
        let rate = rate.ok_or_else(|| Trouble::Server(format!("the floor {name} ended: {status}")))?;
        Ok(Leg {
            rate,
            times_ms: None,
            busy: None,
            verdict: None,
            trouble: None,
        })
    }
}

/// As durable as it comes, and as little in its own way as we know: no checkpoint during a leg, no replicas to feed.
pub(crate) const POSTGRES_SETTINGS: [&str; 14] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=512MB",
    "fsync=on",
    "synchronous_commit=on",
    "wal_sync_method=fdatasync",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "jit=off",
    // A leg is seconds long and begins with empty tables: nothing to vacuum, and no plan for an empty table is to be kept.
    "autovacuum=off",
    "enable_seqscan=off",
];

async fn checked(length: Length, load: Load, store: &Store) -> Result<Leg, Trouble> {
    let mut found = store.found().await?;
    let ids = Ids::default();
    for number in sample(&load.told) {
        let held = store.hold(&asked(&ids, number)).await?;
        found.repeats.push(Answered { number, id: held.id });
    }
    found.taken_after_repeats = store.taken().await?;
    Ok(leg(length, load, |told| Some(judge(told, &found))))
}

/// Requests whose keys are sent again: an even choice of those that were answered.
fn sample(told: &Told) -> Vec<u64> {
    let step = told.answered.len().div_ceil(AGAIN).max(1);
    let chosen = told.answered.iter().step_by(step);
    chosen.map(|hold| hold.number).collect()
}

fn leg(length: Length, mut load: Load, verdict: impl FnOnce(&Told) -> Option<Verdict>) -> Leg {
    #[allow(clippy::cast_precision_loss, reason = "a count of some seconds")]
    let rate = load.in_time as f64 / length.measured.as_secs_f64();
    let Told { unknown, refused, .. } = load.told;
    let troubled = unknown + refused > 0;
    let why = load.first_trouble.take().unwrap_or_default();
    Leg {
        rate,
        times_ms: Some((load.percentile_ms(0.5), load.percentile_ms(0.99))),
        busy: Some(load.busy),
        verdict: verdict(&load.told),
        trouble: troubled.then(|| format!("{refused} refused, {unknown} unknown: {why}")),
    }
}

fn in_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|found| i128::from(found.f_type) == TMPFS_MAGIC)
}
