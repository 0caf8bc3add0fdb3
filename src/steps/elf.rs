//! Where functions and global variables are in one bash binary, from its dynamic symbols.
//!
//! bash exports them all (`-rdynamic`, for its loadable builtins), also when the package is stripped and
//! when it was optimised at link time.

use std::collections::HashMap;

use object::elf::PT_LOAD;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};

/// The symbols of a bash binary and how its file is laid out in memory.
pub struct Symbols {
    addresses: HashMap<&'static str, u64>,
    segments: Vec<Segment>,
}

struct Segment {
    file: u64,
    address: u64,
    size: u64,
}

impl Symbols {
    /// Finds `wanted` in the binary's bytes. Symbols that are not there are simply not known.
    pub fn read(binary: &[u8], wanted: &[&'static str]) -> Result<Self, String> {
        let elf = ElfFile64::<Endianness>::parse(binary).map_err(|_| "not a 64-bit ELF binary".to_owned())?;
        let endian = elf.endian();
        let headers = elf
            .elf_header()
            .program_headers(endian, binary)
            .map_err(|error| format!("its program headers cannot be read: {error}"))?;
        let segments = headers
            .iter()
            .filter(|header| header.p_type(endian) == PT_LOAD)
            .map(|header| Segment {
                file: header.p_offset(endian),
                address: header.p_vaddr(endian),
                size: header.p_memsz(endian),
            })
            .collect();
        let mut addresses = HashMap::new();
        for symbol in elf.dynamic_symbols().filter(|symbol| !symbol.is_undefined()) {
            if let Some(name) = symbol.name().ok().and_then(|name| wanted.iter().find(|wanted| **wanted == name)) {
                addresses.insert(*name, symbol.address());
            }
        }
        Ok(Self { addresses, segments })
    }

    /// A symbol's address as linked.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.addresses.get(name).copied()
    }

    /// Where a function's first instruction is in the file.
    pub fn file_offset(&self, function: &str) -> Option<u64> {
        let address = self.address(function)?;
        let segment = self
            .segments
            .iter()
            .find(|segment| (segment.address..segment.address.saturating_add(segment.size)).contains(&address))?;
        Some(address - segment.address + segment.file)
    }

    /// A variable as a probe on `function` has to name it (`@+OFFSET`).
    ///
    /// The kernel adds the offset to the probe's address in memory less its offset in the file, that is to
    /// where the file would begin if it were mapped in one piece with its code. With data segments shifted
    /// against the file, that is not the variable's offset in the file but its distance from there. It
    /// holds for PIE (any load address) and for fixed addresses alike.
    pub fn variable_offset(&self, function: &str, variable: &str) -> Option<u64> {
        let shift = self.address(function)?.checked_sub(self.file_offset(function)?)?;
        self.address(variable)?.checked_sub(shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_elf_is_refused_with_a_reason() {
        assert_eq!(Symbols::read(b"#!/bin/sh\n", &[]).err().unwrap(), "not a 64-bit ELF binary");
    }

    #[test]
    fn the_symbols_of_this_machines_bash_agree_with_readelf() {
        let binary = std::fs::read("/bin/bash").unwrap();
        let symbols = Symbols::read(&binary, &["read_command", "line_number", "no_such_symbol"]).unwrap();
        let table = std::process::Command::new("readelf").args(["--dyn-syms", "-W", "/bin/bash"]).output().unwrap();
        let table = String::from_utf8(table.stdout).unwrap();
        for name in ["read_command", "line_number"] {
            let row = table.lines().find(|row| row.ends_with(&format!(" {name}"))).unwrap();
            let address = u64::from_str_radix(row.split_whitespace().nth(1).unwrap(), 16).unwrap();
            assert_eq!(symbols.address(name), Some(address), "{name}");
        }
        assert_eq!(symbols.address("no_such_symbol"), None);
    }
}
