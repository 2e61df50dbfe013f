/** The build of msgpackr without `new Function`; its package gives it no types of its own. Only what we use. */
declare module 'msgpackr/index-no-eval' {
  export interface Options {
    useRecords: boolean;
    moreTypes: boolean;
    structuredClone: boolean;
    mapsAsObjects: boolean;
    int64AsType: 'number';
    copyBuffers: boolean;
    variableMapSize: boolean;
  }
  export class Packr {
    constructor(options: Options);
    pack(value: unknown): Uint8Array;
    unpack(bytes: Uint8Array): unknown;
  }
}
