/** Listeners by event name. A listener that throws neither stops the others nor the client. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: any) => void>>();

  on<K extends keyof Events>(event: K, listener: (value: Events[K]) => void): () => void {
    let set = this.#listeners.get(event);
    if (!set) this.#listeners.set(event, (set = new Set()));
    // Wrapped, so that one function registered twice is two registrations, each ended by its own call.
    const entry = (value: Events[K]) => listener(value);
    set.add(entry);
    return () => void set.delete(entry);
  }

  emit<K extends keyof Events>(event: K, value: Events[K]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        // To window.onerror and the console, as an event handler's exception would go.
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}
