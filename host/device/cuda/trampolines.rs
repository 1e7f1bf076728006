//! Every `cu*` symbol that `cust_raw` links to, defined here as a jump through a slot.
//!
//! A slot starts out pointing at the binding code below its trampoline. The first call saves the argument
//! registers, asks [`bind`] for the address (`loader.rs`: the driver's function, or one that returns an error
//! code), stores it in the slot and goes on to it with the arguments as they were; every later call is one
//! indirect jump. This is what a linker's lazy binding does, except that a missing library is an error code
//! and not the end of the program.
//!
//! Invariants:
//! * all trampolines sit in one `global_asm!`, hence in one object file: a program that uses any of them gets
//!   all of them, whatever the order in which the linker reads the libraries;
//! * the symbols are hidden: they serve this executable or shared object only, and another library in the
//!   process that loads the real `libcuda` does not see them;
//! * a slot is written only by [`bind`], and only with the address of a function with the C calling
//!   convention.
//!
//! The trampolines pass up to eight floating-point argument registers on (`cuTexRefSetMipmapLevelBias` takes
//! a float) and never touch stack arguments, so they serve any signature.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// What the assembly lays out for each function: the slot, and right behind it the function's NUL-terminated
/// name.
#[repr(C)]
struct Slot {
    target: AtomicPtr<c_void>,
    name: [std::ffi::c_char; 0],
}

/// Called by the assembly below on the first use of a function.
extern "C" fn bind(slot: &Slot) -> *const c_void {
    // SAFETY: `slot` comes from the assembly below, which puts the name, NUL-terminated, right behind the
    // slot in the same object.
    let name = unsafe { CStr::from_ptr((&raw const slot.name).cast()) };
    let target = super::loader::target(name);
    // Two threads may both get here; they store the same address.
    slot.target.store(target.cast_mut(), Ordering::Release);
    target
}

// System V AMD64: integer arguments in rdi rsi rdx rcx r8 r9, floats in xmm0-7, al counts vector registers of
// variadic calls; r11 is free for linkage code. On entry the stack is 8 bytes off a 16-byte boundary; rbp and
// six registers put it back.
#[cfg(target_arch = "x86_64")]
macro_rules! trampolines {
    ($($name:ident)*) => {
        std::arch::global_asm!(
            concat!(
                ".pushsection .text.ironwarp_cuda_bind,\"ax\",@progbits\n",
                ".type ironwarp_cuda_bind,@function\n",
                "ironwarp_cuda_bind:\n",
                ".cfi_startproc\n",
                "push rbp\n",
                ".cfi_def_cfa_offset 16\n",
                ".cfi_offset rbp, -16\n",
                "mov rbp, rsp\n",
                ".cfi_def_cfa_register rbp\n",
                "push rdi\n push rsi\n push rdx\n push rcx\n push r8\n push r9\n",
                "sub rsp, 144\n",
                "movups [rsp], xmm0\n movups [rsp + 16], xmm1\n movups [rsp + 32], xmm2\n movups [rsp + 48], xmm3\n",
                "movups [rsp + 64], xmm4\n movups [rsp + 80], xmm5\n movups [rsp + 96], xmm6\n movups [rsp + 112], xmm7\n",
                "mov [rsp + 128], rax\n",
                "mov rdi, r11\n",
                "call {bind}\n",
                "mov r11, rax\n",
                "mov rax, [rsp + 128]\n",
                "movups xmm0, [rsp]\n movups xmm1, [rsp + 16]\n movups xmm2, [rsp + 32]\n movups xmm3, [rsp + 48]\n",
                "movups xmm4, [rsp + 64]\n movups xmm5, [rsp + 80]\n movups xmm6, [rsp + 96]\n movups xmm7, [rsp + 112]\n",
                "add rsp, 144\n",
                "pop r9\n pop r8\n pop rcx\n pop rdx\n pop rsi\n pop rdi\n",
                "pop rbp\n",
                ".cfi_def_cfa rsp, 8\n",
                "jmp r11\n",
                ".cfi_endproc\n",
                ".size ironwarp_cuda_bind, . - ironwarp_cuda_bind\n",
                ".popsection\n",
                $(
                    ".pushsection .data.", stringify!($name), ",\"aw\",@progbits\n",
                    ".balign 8\n",
                    ".Lironwarp_slot_", stringify!($name), ":\n",
                    ".quad .Lironwarp_first_", stringify!($name), "\n",
                    ".asciz \"", stringify!($name), "\"\n",
                    ".popsection\n",
                    ".pushsection .text.", stringify!($name), ",\"ax\",@progbits\n",
                    ".globl ", stringify!($name), "\n",
                    ".hidden ", stringify!($name), "\n",
                    ".type ", stringify!($name), ",@function\n",
                    stringify!($name), ":\n",
                    "jmp qword ptr [rip + .Lironwarp_slot_", stringify!($name), "]\n",
                    ".Lironwarp_first_", stringify!($name), ":\n",
                    "lea r11, [rip + .Lironwarp_slot_", stringify!($name), "]\n",
                    "jmp ironwarp_cuda_bind\n",
                    ".size ", stringify!($name), ", . - ", stringify!($name), "\n",
                    ".popsection\n",
                )*
            ),
            bind = sym bind,
        );

        /// The functions with a trampoline.
        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

// AAPCS64: arguments in x0-x7 and q0-q7, x8 points to a returned structure; x16 and x17 are free for linkage
// code.
#[cfg(target_arch = "aarch64")]
macro_rules! trampolines {
    ($($name:ident)*) => {
        std::arch::global_asm!(
            concat!(
                ".pushsection .text.ironwarp_cuda_bind,\"ax\",@progbits\n",
                ".balign 4\n",
                ".type ironwarp_cuda_bind,@function\n",
                "ironwarp_cuda_bind:\n",
                ".cfi_startproc\n",
                "stp x29, x30, [sp, #-224]!\n",
                ".cfi_def_cfa_offset 224\n",
                ".cfi_offset x29, -224\n",
                ".cfi_offset x30, -216\n",
                "mov x29, sp\n",
                "stp x0, x1, [sp, #16]\n stp x2, x3, [sp, #32]\n stp x4, x5, [sp, #48]\n stp x6, x7, [sp, #64]\n",
                "str x8, [sp, #80]\n",
                "stp q0, q1, [sp, #96]\n stp q2, q3, [sp, #128]\n stp q4, q5, [sp, #160]\n stp q6, q7, [sp, #192]\n",
                "mov x0, x17\n",
                "bl {bind}\n",
                "mov x16, x0\n",
                "ldp x0, x1, [sp, #16]\n ldp x2, x3, [sp, #32]\n ldp x4, x5, [sp, #48]\n ldp x6, x7, [sp, #64]\n",
                "ldr x8, [sp, #80]\n",
                "ldp q0, q1, [sp, #96]\n ldp q2, q3, [sp, #128]\n ldp q4, q5, [sp, #160]\n ldp q6, q7, [sp, #192]\n",
                "ldp x29, x30, [sp], #224\n",
                ".cfi_def_cfa sp, 0\n",
                "br x16\n",
                ".cfi_endproc\n",
                ".size ironwarp_cuda_bind, . - ironwarp_cuda_bind\n",
                ".popsection\n",
                $(
                    ".pushsection .data.", stringify!($name), ",\"aw\",@progbits\n",
                    ".balign 8\n",
                    ".Lironwarp_slot_", stringify!($name), ":\n",
                    ".quad .Lironwarp_first_", stringify!($name), "\n",
                    ".asciz \"", stringify!($name), "\"\n",
                    ".popsection\n",
                    ".pushsection .text.", stringify!($name), ",\"ax\",@progbits\n",
                    ".balign 4\n",
                    ".globl ", stringify!($name), "\n",
                    ".hidden ", stringify!($name), "\n",
                    ".type ", stringify!($name), ",@function\n",
                    stringify!($name), ":\n",
                    "adrp x17, .Lironwarp_slot_", stringify!($name), "\n",
                    "add x17, x17, :lo12:.Lironwarp_slot_", stringify!($name), "\n",
                    "ldr x16, [x17]\n",
                    "br x16\n",
                    ".Lironwarp_first_", stringify!($name), ":\n",
                    "b ironwarp_cuda_bind\n",
                    ".size ", stringify!($name), ", . - ", stringify!($name), "\n",
                    ".popsection\n",
                )*
            ),
            bind = sym bind,
        );

        /// The functions with a trampoline.
        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "the cuda device needs Linux on x86_64 or aarch64: build without the feature `cuda` and without --cfg ironwarp_cuda"
);

// The functions that cust_raw 0.11 declares, CUDA 11.5 or so, in its order.
#[rustfmt::skip]
trampolines! {
    cuGetErrorString cuGetErrorName cuInit cuDriverGetVersion cuDeviceGet cuDeviceGetCount cuDeviceGetName
    cuDeviceGetUuid cuDeviceGetUuid_v2 cuDeviceGetLuid cuDeviceTotalMem_v2
    cuDeviceGetTexture1DLinearMaxWidth cuDeviceGetAttribute cuDeviceGetNvSciSyncAttributes
    cuDeviceSetMemPool cuDeviceGetMemPool cuDeviceGetDefaultMemPool cuFlushGPUDirectRDMAWrites
    cuDeviceGetProperties cuDeviceComputeCapability cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2
    cuDevicePrimaryCtxSetFlags_v2 cuDevicePrimaryCtxGetState cuDevicePrimaryCtxReset_v2
    cuDeviceGetExecAffinitySupport cuCtxCreate_v2 cuCtxCreate_v3 cuCtxDestroy_v2 cuCtxPushCurrent_v2
    cuCtxPopCurrent_v2 cuCtxSetCurrent cuCtxGetCurrent cuCtxGetDevice cuCtxGetFlags cuCtxSynchronize
    cuCtxSetLimit cuCtxGetLimit cuCtxGetCacheConfig cuCtxSetCacheConfig cuCtxGetSharedMemConfig
    cuCtxSetSharedMemConfig cuCtxGetApiVersion cuCtxGetStreamPriorityRange cuCtxResetPersistingL2Cache
    cuCtxGetExecAffinity cuCtxAttach cuCtxDetach cuModuleLoad cuModuleLoadData cuModuleLoadDataEx
    cuModuleLoadFatBinary cuModuleUnload cuModuleGetFunction cuModuleGetGlobal_v2 cuModuleGetTexRef
    cuModuleGetSurfRef cuLinkCreate_v2 cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkDestroy
    cuMemGetInfo_v2 cuMemAlloc_v2 cuMemAllocPitch_v2 cuMemFree_v2 cuMemGetAddressRange_v2 cuMemAllocHost_v2
    cuMemFreeHost cuMemHostAlloc cuMemHostGetDevicePointer_v2 cuMemHostGetFlags cuMemAllocManaged
    cuDeviceGetByPCIBusId cuDeviceGetPCIBusId cuIpcGetEventHandle cuIpcOpenEventHandle cuIpcGetMemHandle
    cuIpcOpenMemHandle_v2 cuIpcCloseMemHandle cuMemHostRegister_v2 cuMemHostUnregister cuMemcpy cuMemcpyPeer
    cuMemcpyHtoD_v2 cuMemcpyDtoH_v2 cuMemcpyDtoD_v2 cuMemcpyDtoA_v2 cuMemcpyAtoD_v2 cuMemcpyHtoA_v2
    cuMemcpyAtoH_v2 cuMemcpyAtoA_v2 cuMemcpy2D_v2 cuMemcpy2DUnaligned_v2 cuMemcpy3D_v2 cuMemcpy3DPeer
    cuMemcpyAsync cuMemcpyPeerAsync cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2
    cuMemcpyHtoAAsync_v2 cuMemcpyAtoHAsync_v2 cuMemcpy2DAsync_v2 cuMemcpy3DAsync_v2 cuMemcpy3DPeerAsync
    cuMemsetD8_v2 cuMemsetD16_v2 cuMemsetD32_v2 cuMemsetD2D8_v2 cuMemsetD2D16_v2 cuMemsetD2D32_v2
    cuMemsetD8Async cuMemsetD16Async cuMemsetD32Async cuMemsetD2D8Async cuMemsetD2D16Async
    cuMemsetD2D32Async cuArrayCreate_v2 cuArrayGetDescriptor_v2 cuArrayGetSparseProperties
    cuMipmappedArrayGetSparseProperties cuArrayGetPlane cuArrayDestroy cuArray3DCreate_v2
    cuArray3DGetDescriptor_v2 cuMipmappedArrayCreate cuMipmappedArrayGetLevel cuMipmappedArrayDestroy
    cuMemAddressReserve cuMemAddressFree cuMemCreate cuMemRelease cuMemMap cuMemMapArrayAsync cuMemUnmap
    cuMemSetAccess cuMemGetAccess cuMemExportToShareableHandle cuMemImportFromShareableHandle
    cuMemGetAllocationGranularity cuMemGetAllocationPropertiesFromHandle cuMemRetainAllocationHandle
    cuMemFreeAsync cuMemAllocAsync cuMemPoolTrimTo cuMemPoolSetAttribute cuMemPoolGetAttribute
    cuMemPoolSetAccess cuMemPoolGetAccess cuMemPoolCreate cuMemPoolDestroy cuMemAllocFromPoolAsync
    cuMemPoolExportToShareableHandle cuMemPoolImportFromShareableHandle cuMemPoolExportPointer
    cuMemPoolImportPointer cuPointerGetAttribute cuMemPrefetchAsync cuMemAdvise cuMemRangeGetAttribute
    cuMemRangeGetAttributes cuPointerSetAttribute cuPointerGetAttributes cuStreamCreate
    cuStreamCreateWithPriority cuStreamGetPriority cuStreamGetFlags cuStreamGetCtx cuStreamWaitEvent
    cuStreamAddCallback cuStreamBeginCapture_v2 cuThreadExchangeStreamCaptureMode cuStreamEndCapture
    cuStreamIsCapturing cuStreamGetCaptureInfo cuStreamGetCaptureInfo_v2 cuStreamUpdateCaptureDependencies
    cuStreamAttachMemAsync cuStreamQuery cuStreamSynchronize cuStreamDestroy_v2 cuStreamCopyAttributes
    cuStreamGetAttribute cuStreamSetAttribute cuEventCreate cuEventRecord cuEventRecordWithFlags
    cuEventQuery cuEventSynchronize cuEventDestroy_v2 cuEventElapsedTime cuImportExternalMemory
    cuExternalMemoryGetMappedBuffer cuExternalMemoryGetMappedMipmappedArray cuDestroyExternalMemory
    cuImportExternalSemaphore cuSignalExternalSemaphoresAsync cuWaitExternalSemaphoresAsync
    cuDestroyExternalSemaphore cuStreamWaitValue32 cuStreamWaitValue64 cuStreamWriteValue32
    cuStreamWriteValue64 cuStreamBatchMemOp cuFuncGetAttribute cuFuncSetAttribute cuFuncSetCacheConfig
    cuFuncSetSharedMemConfig cuFuncGetModule cuLaunchKernel cuLaunchCooperativeKernel
    cuLaunchCooperativeKernelMultiDevice cuLaunchHostFunc cuFuncSetBlockShape cuFuncSetSharedSize
    cuParamSetSize cuParamSeti cuParamSetf cuParamSetv cuLaunch cuLaunchGrid cuLaunchGridAsync
    cuParamSetTexRef cuGraphCreate cuGraphAddKernelNode cuGraphKernelNodeGetParams
    cuGraphKernelNodeSetParams cuGraphAddMemcpyNode cuGraphMemcpyNodeGetParams cuGraphMemcpyNodeSetParams
    cuGraphAddMemsetNode cuGraphMemsetNodeGetParams cuGraphMemsetNodeSetParams cuGraphAddHostNode
    cuGraphHostNodeGetParams cuGraphHostNodeSetParams cuGraphAddChildGraphNode cuGraphChildGraphNodeGetGraph
    cuGraphAddEmptyNode cuGraphAddEventRecordNode cuGraphEventRecordNodeGetEvent
    cuGraphEventRecordNodeSetEvent cuGraphAddEventWaitNode cuGraphEventWaitNodeGetEvent
    cuGraphEventWaitNodeSetEvent cuGraphAddExternalSemaphoresSignalNode
    cuGraphExternalSemaphoresSignalNodeGetParams cuGraphExternalSemaphoresSignalNodeSetParams
    cuGraphAddExternalSemaphoresWaitNode cuGraphExternalSemaphoresWaitNodeGetParams
    cuGraphExternalSemaphoresWaitNodeSetParams cuGraphAddMemAllocNode cuGraphMemAllocNodeGetParams
    cuGraphAddMemFreeNode cuGraphMemFreeNodeGetParams cuDeviceGraphMemTrim cuDeviceGetGraphMemAttribute
    cuDeviceSetGraphMemAttribute cuGraphClone cuGraphNodeFindInClone cuGraphNodeGetType cuGraphGetNodes
    cuGraphGetRootNodes cuGraphGetEdges cuGraphNodeGetDependencies cuGraphNodeGetDependentNodes
    cuGraphAddDependencies cuGraphRemoveDependencies cuGraphDestroyNode cuGraphInstantiate_v2
    cuGraphInstantiateWithFlags cuGraphExecKernelNodeSetParams cuGraphExecMemcpyNodeSetParams
    cuGraphExecMemsetNodeSetParams cuGraphExecHostNodeSetParams cuGraphExecChildGraphNodeSetParams
    cuGraphExecEventRecordNodeSetEvent cuGraphExecEventWaitNodeSetEvent
    cuGraphExecExternalSemaphoresSignalNodeSetParams cuGraphExecExternalSemaphoresWaitNodeSetParams
    cuGraphUpload cuGraphLaunch cuGraphExecDestroy cuGraphDestroy cuGraphExecUpdate
    cuGraphKernelNodeCopyAttributes cuGraphKernelNodeGetAttribute cuGraphKernelNodeSetAttribute
    cuGraphDebugDotPrint cuUserObjectCreate cuUserObjectRetain cuUserObjectRelease cuGraphRetainUserObject
    cuGraphReleaseUserObject cuOccupancyMaxActiveBlocksPerMultiprocessor
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cuOccupancyMaxPotentialBlockSize
    cuOccupancyMaxPotentialBlockSizeWithFlags cuOccupancyAvailableDynamicSMemPerBlock cuTexRefSetArray
    cuTexRefSetMipmappedArray cuTexRefSetAddress_v2 cuTexRefSetAddress2D_v3 cuTexRefSetFormat
    cuTexRefSetAddressMode cuTexRefSetFilterMode cuTexRefSetMipmapFilterMode cuTexRefSetMipmapLevelBias
    cuTexRefSetMipmapLevelClamp cuTexRefSetMaxAnisotropy cuTexRefSetBorderColor cuTexRefSetFlags
    cuTexRefGetAddress_v2 cuTexRefGetArray cuTexRefGetMipmappedArray cuTexRefGetAddressMode
    cuTexRefGetFilterMode cuTexRefGetFormat cuTexRefGetMipmapFilterMode cuTexRefGetMipmapLevelBias
    cuTexRefGetMipmapLevelClamp cuTexRefGetMaxAnisotropy cuTexRefGetBorderColor cuTexRefGetFlags
    cuTexRefCreate cuTexRefDestroy cuSurfRefSetArray cuSurfRefGetArray cuTexObjectCreate cuTexObjectDestroy
    cuTexObjectGetResourceDesc cuTexObjectGetTextureDesc cuTexObjectGetResourceViewDesc cuSurfObjectCreate
    cuSurfObjectDestroy cuSurfObjectGetResourceDesc cuDeviceCanAccessPeer cuCtxEnablePeerAccess
    cuCtxDisablePeerAccess cuDeviceGetP2PAttribute cuGraphicsUnregisterResource
    cuGraphicsSubResourceGetMappedArray cuGraphicsResourceGetMappedMipmappedArray
    cuGraphicsResourceGetMappedPointer_v2 cuGraphicsResourceSetMapFlags_v2 cuGraphicsMapResources
    cuGraphicsUnmapResources cuGetProcAddress cuGetExportTable cuProfilerInitialize cuProfilerStart
    cuProfilerStop
}
