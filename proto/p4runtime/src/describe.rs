//! Entries as a line for people: `filter_admin priority 10: src_class=7, tcp_flags=0x2/0x12 -> admin_deny_log(rule=3)`.

use std::fmt::Write;

use crate::entry::{Action, DefaultEntry, Entry, Key, Match};
use crate::schema::Schema;

/// Fields up to this width are counted in decimal, wider ones are addresses and the like: hexadecimal.
const DECIMAL_BITS: u32 = 16;

impl Schema {
    /// An entry with the program's names: table, priority, matches, action. What the program does not have appears by
    /// its id.
    pub fn describe(&self, entry: &Entry) -> String {
        format!("{} -> {}", self.describe_key(&entry.key), self.describe_action(&entry.action))
    }

    /// A key with the program's names.
    pub fn describe_key(&self, key: &Key) -> String {
        let table = self.table(key.table);
        let mut line = self.table_name(key.table);
        if key.priority != 0 {
            let _ = write!(line, " priority {}", key.priority);
        }
        let mut separator = ": ";
        for field_match in &key.matches {
            let field = table.and_then(|table| table.field(field_match.field));
            let bits = field.map_or(0, |field| field.bits);
            let name =
                field.map_or_else(|| format!("field-{}", field_match.field), |field| field.name.clone());
            let _ = write!(line, "{separator}{name}={}", match_text(field_match.matches, bits));
            separator = ", ";
        }
        if key.matches.is_empty() {
            line.push_str(": anything");
        }
        line
    }

    /// An action with the program's names.
    pub fn describe_action(&self, action: &Action) -> String {
        let info = self.action(action.id);
        let mut line = info.map_or_else(|| format!("action-{}", action.id), |info| info.alias.clone());
        line.push('(');
        let mut separator = "";
        for &(id, value) in &action.params {
            let param = info.and_then(|info| info.param(id));
            let name = param.map_or_else(|| format!("param-{id}"), |param| param.name.clone());
            let _ = write!(line, "{separator}{name}={}", number(value, param.map_or(0, |param| param.bits)));
            separator = ", ";
        }
        line.push(')');
        line
    }

    /// A default entry with the program's names.
    pub fn describe_default(&self, entry: &DefaultEntry) -> String {
        let action = entry
            .action
            .as_ref()
            .map_or_else(|| "the program's own".to_owned(), |action| self.describe_action(action));
        format!("{} default -> {action}", self.table_name(entry.table))
    }

    fn table_name(&self, id: u32) -> String {
        self.table(id).map_or_else(|| format!("table-{id}"), |table| table.alias.clone())
    }
}

fn number(value: u128, bits: u32) -> String {
    if bits <= DECIMAL_BITS { value.to_string() } else { format!("{value:#x}") }
}

fn match_text(matches: Match, bits: u32) -> String {
    match matches {
        Match::Exact(value) | Match::Optional(value) => number(value, bits),
        Match::Lpm { value, prefix_len } => format!("{value:#x}/{prefix_len}"),
        Match::Ternary { value, mask } if mask == crate::bytestring::max_value(bits) => number(value, bits),
        Match::Ternary { value, mask } => format!("{value:#x}/{mask:#x}"),
        Match::Range { low, high } if low == high => number(low, bits),
        Match::Range { low, high } => format!("{}..={}", number(low, bits), number(high, bits)),
    }
}
