/** Listeners by event name. A listener that throws neither stops the others nor the client. */
export declare class Emitter<Events extends object> {
    #private;
    on<K extends keyof Events>(event: K, listener: (value: Events[K]) => void): () => void;
    emit<K extends keyof Events>(event: K, value: Events[K]): void;
}
