/** One waits, others call: a call that comes before the wait is not lost. */
export class Wake {
  #called = false;
  #resolve: (() => void) | undefined;

  call(): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    if (resolve) resolve();
    else this.#called = true;
  }

  wait(): Promise<void> {
    if (this.#called) {
      this.#called = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }
}
