//! Reads what strace wrote down: the calls that change a directory tree, the syncs, and the answers between them.
//!
//! Every string in the trace is in hexadecimal (`strace -xx`), so that no letter in a path or a value can be taken for syntax. A
//! change happens when its call begins; a sync counts when it has returned, for the changes that had returned before it began. A
//! descriptor is a file's from the return of the call that opened it: another thread may close it, and use its number, before.
use std::collections::BTreeMap;

/// A file or a directory, whatever it is called at the moment. The root of the tree is 0.
pub(super) type Node = usize;

/// A change of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// Longer with zeros, or shorter.
    Resize {
        length: usize,
    },
    /// At least as long.
    Extend {
        length: usize,
    },
}

/// A change of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Add {
        dir: Node,
        name: String,
        node: Node,
        is_dir: bool,
    },
    Remove {
        dir: Node,
        name: String,
    },
    Move {
        from: (Node, String),
        to: (Node, String),
        node: Node,
    },
}

impl Names {
    /// The directory whose sync makes it durable.
    pub(super) fn dir(&self) -> Node {
        match self {
            Self::Add { dir, .. } | Self::Remove { dir, .. } => *dir,
            Self::Move { to, .. } => to.0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Data {
        node: Node,
        data: Data,
        ended: usize,
    },
    Names {
        names: Names,
        ended: usize,
    },
    /// `only_data`: fdatasync, on a file whose path was this.
    Sync {
        node: Node,
        begun: usize,
        only_data: bool,
        path: String,
    },
    /// A line on the standard output.
    Told(String),
}

/// A call that has returned.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    result: &'a str,
    begun: usize,
    ended: usize,
}

impl Call<'_> {
    fn gives_a_descriptor(&self) -> bool {
        self.name == "openat" || (self.name == "fcntl" && self.arguments[1].starts_with("F_DUPFD"))
    }
}

/// The events of a trace below `root`, in the order in which they took effect.
pub(super) fn read(trace: &str, root: &str) -> Vec<Event> {
    let joined = join(trace);
    let mut calls: Vec<Call<'_>> = joined
        .iter()
        .filter_map(|(begun, ended, line)| parse(line, *begun, *ended))
        .collect();
    calls.sort_by_key(|call| {
        if call.gives_a_descriptor() {
            call.ended
        } else {
            call.begun
        }
    });
    let mut reader = Reader {
        root: root.to_owned(),
        children: BTreeMap::from([((0, String::new()), 0)]),
        nodes: 1,
        open: BTreeMap::new(),
        events: Vec::new(),
    };
    for call in &calls {
        reader.call(call);
    }
    reader.events.sort_by_key(|(at, _)| *at);
    reader.events.into_iter().map(|(_, event)| event).collect()
}

/// Whole calls with the lines they begin and end in, in the order of their beginning.
fn join(trace: &str) -> Vec<(usize, usize, String)> {
    let mut whole: Vec<(usize, usize, String)> = Vec::new();
    let mut begun: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, whole.len());
            whole.push((number, usize::MAX, beginning.trim_end().to_owned()));
        } else if rest.starts_with("<... ") {
            let (_, end) = rest.split_once("resumed>").expect("resumed");
            let index = begun.remove(thread).expect("it has begun");
            whole[index].1 = number;
            whole[index].2.push_str(end);
        } else {
            whole.push((number, number, rest.to_owned()));
        }
    }
    // A call that the end of the process cut off has no result, and is none of ours.
    whole.retain(|(_, ended, _)| *ended != usize::MAX);
    whole
}

fn parse(line: &str, begun: usize, ended: usize) -> Option<Call<'_>> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = call.split_once('(')?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    // A call that failed changed nothing.
    (!result.starts_with('-')).then(|| Call {
        name,
        arguments: arguments.split(", ").collect(),
        result,
        begun,
        ended,
    })
}

/// `\x61\x62` as bytes.
fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.split("\\x").skip(1);
    digits
        .map(|pair| u8::from_str_radix(&pair[..2], 16).unwrap_or_else(|_| panic!("{pair}")))
        .collect()
}

fn text(hex: &str) -> String {
    String::from_utf8(bytes(hex)).unwrap()
}

/// The content of a quoted argument.
fn quoted(argument: &str) -> &str {
    let inside = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or_else(|| panic!("not whole: {argument:.60}"))
}

/// `7</path>` as number and path.
fn descriptor(argument: &str) -> (i64, String) {
    let (number, path) = argument.split_once('<').unwrap_or((argument, ""));
    let path = path.split_once('>').map_or("", |(path, _)| path);
    let number = if number == "AT_FDCWD" {
        -1
    } else {
        number.parse().unwrap()
    };
    (number, text(path))
}

/// An open file.
#[derive(Clone, Copy)]
struct Open {
    node: Node,
    at: usize,
}

struct Reader {
    root: String,
    /// Names as they are now.
    children: BTreeMap<(Node, String), Node>,
    nodes: usize,
    open: BTreeMap<i64, Open>,
    /// With the line in which they take effect.
    events: Vec<(usize, Event)>,
}

impl Reader {
    /// Directory and name below the root; `None` if it is elsewhere.
    fn place(&self, path: &str) -> Option<(Node, String)> {
        let below = path.strip_prefix(&self.root)?.strip_prefix('/')?;
        let mut dir = 0;
        let mut names = below.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                return Some((dir, name.to_owned()));
            }
            dir = *self.children.get(&(dir, name.to_owned()))?;
        }
        None
    }

    fn node(&self, path: &str) -> Option<Node> {
        if path == self.root {
            return Some(0);
        }
        self.children.get(&self.place(path)?).copied()
    }

    /// The path of a call that names it in an argument, or relative to a directory.
    fn path(&self, call: &Call<'_>, dir: Option<usize>, name: usize) -> String {
        let name = text(quoted(call.arguments[name]));
        match dir {
            Some(dir) if !name.starts_with('/') => {
                format!("{}/{name}", descriptor(call.arguments[dir]).1)
            }
            _ => name,
        }
    }

    fn data(&mut self, call: &Call<'_>, node: Node, data: Data) {
        let ended = call.ended;
        self.events.push((call.begun, Event::Data { node, data, ended }));
    }

    fn names(&mut self, call: &Call<'_>, names: Names) {
        let ended = call.ended;
        self.events.push((call.begun, Event::Names { names, ended }));
    }

    fn add(&mut self, call: &Call<'_>, path: &str, is_dir: bool) -> Option<Node> {
        let (dir, name) = self.place(path)?;
        let node = self.nodes;
        self.nodes += 1;
        self.children.insert((dir, name.clone()), node);
        self.names(
            call,
            Names::Add {
                dir,
                name,
                node,
                is_dir,
            },
        );
        Some(node)
    }

    fn remove(&mut self, call: &Call<'_>, path: &str) {
        let Some((dir, name)) = self.place(path) else {
            return;
        };
        self.children.remove(&(dir, name.clone()));
        self.names(call, Names::Remove { dir, name });
    }

    fn rename(&mut self, call: &Call<'_>, from: &str, to: &str) {
        let (Some(from), Some(to)) = (self.place(from), self.place(to)) else {
            return;
        };
        let node = self.children.remove(&from).expect("it is there");
        self.children.insert(to.clone(), node);
        self.names(call, Names::Move { from, to, node });
    }

    fn opened(&mut self, call: &Call<'_>, path: &str, flags: &str) {
        let number = descriptor(call.result.split(' ').next().unwrap_or_default()).0;
        self.open.remove(&number);
        let node = match self.node(path) {
            Some(node) => node,
            None if flags.contains("O_CREAT") => match self.add(call, path, false) {
                Some(node) => node,
                None => return,
            },
            None => return,
        };
        if flags.contains("O_TRUNC") {
            self.data(call, node, Data::Resize { length: 0 });
        }
        assert!(
            !flags.contains("O_APPEND"),
            "appends have no place of their own: {path}"
        );
        self.open.insert(number, Open { node, at: 0 });
    }

    fn call(&mut self, call: &Call<'_>) {
        let number = |index: usize| -> usize {
            call.arguments[index]
                .parse()
                .unwrap_or_else(|_| panic!("{}", call.name))
        };
        let result = || -> usize { call.result.split(' ').next().unwrap_or_default().parse().unwrap() };
        match call.name {
            "openat" => {
                let path = self.path(call, Some(0), 1);
                self.opened(call, &path, call.arguments[2]);
            }
            "mkdir" => _ = self.add(call, &self.path(call, None, 0), true),
            "mkdirat" => _ = self.add(call, &self.path(call, Some(0), 1), true),
            "unlink" | "rmdir" => self.remove(call, &self.path(call, None, 0)),
            "unlinkat" => self.remove(call, &self.path(call, Some(0), 1)),
            "rename" => self.rename(call, &self.path(call, None, 0), &self.path(call, None, 1)),
            "renameat" | "renameat2" => {
                self.rename(call, &self.path(call, Some(0), 1), &self.path(call, Some(2), 3));
            }
            _ => self.on_descriptor(call, number, result),
        }
    }

    /// Calls whose first argument is an open file.
    fn on_descriptor(
        &mut self,
        call: &Call<'_>,
        number: impl Fn(usize) -> usize,
        result: impl Fn() -> usize,
    ) {
        let (descriptor, path) = descriptor(call.arguments[0]);
        if call.name == "write" && descriptor == 1 {
            let told = text(quoted(call.arguments[1]));
            self.events.push((call.begun, Event::Told(told)));
            return;
        }
        let Some(Open { node, at }) = self.open.get(&descriptor).copied() else {
            return;
        };
        match call.name {
            "write" | "pwrite64" => {
                let bytes = bytes(quoted(call.arguments[1]));
                assert_eq!(bytes.len(), result(), "a short write of {path}");
                let offset = if call.name == "write" { at } else { number(3) };
                if call.name == "write" {
                    self.open.insert(
                        descriptor,
                        Open {
                            node,
                            at: at + bytes.len(),
                        },
                    );
                }
                self.data(call, node, Data::Write { offset, bytes });
            }
            "read" => {
                _ = self.open.insert(
                    descriptor,
                    Open {
                        node,
                        at: at + result(),
                    },
                )
            }
            "lseek" => _ = self.open.insert(descriptor, Open { node, at: result() }),
            "ftruncate" => self.data(call, node, Data::Resize { length: number(1) }),
            "fallocate" => {
                assert_eq!(call.arguments[1], "0", "{path}");
                self.data(
                    call,
                    node,
                    Data::Extend {
                        length: number(2) + number(3),
                    },
                );
            }
            "fsync" | "fdatasync" => {
                let sync = Event::Sync {
                    node,
                    begun: call.begun,
                    only_data: call.name == "fdatasync",
                    path,
                };
                self.events.push((call.ended, sync));
            }
            "fcntl" if call.arguments[1].starts_with("F_DUPFD") => {
                let copy = self::descriptor(call.result).0;
                self.open.insert(copy, Open { node, at });
            }
            // sync_file_range is no barrier; the other commands of fcntl change nothing.
            "sync_file_range" | "fcntl" => {}
            other => panic!("{other} of {path} is not understood"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    #[test]
    fn calls_of_several_threads_are_read_in_the_order_of_their_effects() {
        let root = hex("/r");
        let (dir, file, other) = (hex("/r/d"), hex("/r/d/f"), hex("/r/d/g"));
        let trace = format!(
            "7 mkdir(\"{dir}\", 0777) = 0\n\
             7 openat(AT_FDCWD<{root}>, \"{file}\", O_RDWR|O_CREAT, 0666) = 3<{file}>\n\
             7 pwrite64(3<{file}>, \"{data}\", 2, 512 <unfinished ...>\n\
             8 fdatasync(3<{file}> <unfinished ...>\n\
             7 <... pwrite64 resumed>) = 2\n\
             8 <... fdatasync resumed>) = 0\n\
             8 rename(\"{file}\", \"{other}\") = 0\n\
             8 unlink(\"{missing}\") = -1 ENOENT (No such file or directory)\n\
             7 write(1<{root}>, \"{said}\", 3) = 3\n",
            data = hex("hi"),
            missing = hex("/r/x"),
            said = hex("ok\n"),
        );
        let add = |dir, name: &str, node, is_dir, ended| Event::Names {
            names: Names::Add {
                dir,
                name: name.to_owned(),
                node,
                is_dir,
            },
            ended,
        };
        let expected = [
            add(0, "d", 1, true, 0),
            add(1, "f", 2, false, 1),
            Event::Data {
                node: 2,
                data: Data::Write {
                    offset: 512,
                    bytes: b"hi".to_vec(),
                },
                ended: 4,
            },
            Event::Sync {
                node: 2,
                begun: 3,
                only_data: true,
                path: "/r/d/f".to_owned(),
            },
            Event::Names {
                names: Names::Move {
                    from: (1, "f".to_owned()),
                    to: (1, "g".to_owned()),
                    node: 2,
                },
                ended: 6,
            },
            Event::Told("ok\n".to_owned()),
        ];
        assert_eq!(read(&trace, "/r"), expected);
    }

    #[test]
    fn a_number_that_is_given_again_is_the_new_files_from_then_on() {
        let root = hex("/r");
        let (file, other) = (hex("/r/f"), hex("/r/g"));
        let (first, second) = (hex("hi"), hex("yo"));
        let trace = format!(
            "7 openat(AT_FDCWD<{root}>, \"{file}\", O_RDWR|O_CREAT, 0666) = 3<{file}>\n\
             8 openat(AT_FDCWD<{root}>, \"{other}\", O_RDWR|O_CREAT, 0666 <unfinished ...>\n\
             7 pwrite64(3<{file}>, \"{first}\", 2, 0) = 2\n\
             8 <... openat resumed>) = 3<{other}>\n\
             8 pwrite64(3<{other}>, \"{second}\", 2, 0) = 2\n",
        );
        let written: Vec<_> = read(&trace, "/r")
            .into_iter()
            .filter_map(|event| match event {
                Event::Data {
                    node,
                    data: Data::Write { bytes, .. },
                    ..
                } => Some((node, bytes)),
                _ => None,
            })
            .collect();
        assert_eq!(written, [(1, b"hi".to_vec()), (2, b"yo".to_vec())]);
    }
}
