/** Exponential back-off; each delay is jittered so that clients cut off together do not return together. */
export class Backoff {
  #attempt = 0;

  constructor(
    private readonly min: number,
    private readonly max: number,
  ) {}

  /** The next delay in milliseconds: between half and all of min, 2 min, 4 min, … max. */
  next(): number {
    const ceiling = Math.min(this.max, this.min * 2 ** Math.min(this.#attempt++, 30));
    return Math.round(ceiling * (0.5 + Math.random() / 2));
  }

  reset(): void {
    this.#attempt = 0;
  }
}
