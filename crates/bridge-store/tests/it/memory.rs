use bridge_store::MemoryStore;
use bridge_testkit::{conformance::StoreHarness, handshake_conformance, store_conformance};

struct Memory(MemoryStore);

impl StoreHarness for Memory {
    type Store = MemoryStore;

    async fn open(&self) -> MemoryStore {
        self.0.clone()
    }
}

store_conformance!(|| Memory(MemoryStore::new()));
handshake_conformance!(|| Memory(MemoryStore::new()));
