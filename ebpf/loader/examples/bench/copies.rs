pub fn table() -> anyhow::Result<()> { Ok(()) }
