# FNTK_CUDA: whether the CUDA backend is built. AUTO: where a toolkit and a GPU are found; ON: a toolkit, 12.4 or later,
# is enough. A library built with it loads anywhere the toolkit's libraries are, and says what is missing.
#     CMAKE_CUDA_ARCHITECTURES   honoured as everywhere; by default that of the GPU at hand, else those of the list
#                                below the toolkit knows
#     CMAKE_CUDA_COMPILER        nvcc; else $CUDACXX, nvcc in PATH or in /usr/local/cuda
set(FNTK_CUDA_ENABLED FALSE)
if(NOT FNTK_CUDA MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "fntk: FNTK_CUDA is '${FNTK_CUDA}'; it must be AUTO, ON or OFF")
endif()
if(FNTK_CUDA STREQUAL "OFF")
    message(STATUS "fntk: no CUDA backend (FNTK_CUDA=OFF)")
    return()
endif()

set(FNTK_GPU_HERE FALSE)
if(EXISTS /dev/nvidiactl OR EXISTS /dev/dxg)
    set(FNTK_GPU_HERE TRUE)
endif()
if(FNTK_CUDA STREQUAL "AUTO" AND NOT FNTK_GPU_HERE)
    message(STATUS "fntk: no CUDA backend (no GPU here; -DFNTK_CUDA=ON builds it all the same)")
    return()
endif()

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(FNTK_NVCC nvcc PATHS /usr/local/cuda/bin)
    mark_as_advanced(FNTK_NVCC)
    if(FNTK_NVCC)
        set(ENV{CUDACXX} ${FNTK_NVCC})
    endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
    if(FNTK_CUDA STREQUAL "ON")
        message(FATAL_ERROR "fntk: FNTK_CUDA=ON needs a working CUDA toolkit, 12.4 or later, and none was found. "
            "Put nvcc into PATH or pass -DCMAKE_CUDA_COMPILER=/path/to/nvcc, or configure with -DFNTK_CUDA=OFF.")
    endif()
    message(STATUS "fntk: no CUDA backend (no CUDA toolkit found)")
    return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(FNTK_CUDA_DEFAULT_ARCHITECTURES TRUE)
    set(CMAKE_CUDA_ARCHITECTURES 80)  # for the compiler's own check
endif()
enable_language(CUDA)
if(FNTK_CUDA_DEFAULT_ARCHITECTURES AND FNTK_GPU_HERE)
    set(CMAKE_CUDA_ARCHITECTURES native)
elseif(FNTK_CUDA_DEFAULT_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
        set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90-real 100-real 120)
    endif()
endif()

# CMake 3.24 and 3.25 know no C++20 for nvcc.
foreach(dialect STANDARD EXTENSION)
    if(NOT CMAKE_CUDA20_${dialect}_COMPILE_OPTION)
        set(CMAKE_CUDA20_${dialect}_COMPILE_OPTION -std=c++20)
    endif()
endforeach()

find_package(CUDAToolkit 12.4 REQUIRED)

file(GLOB FNTK_CUDA_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/backend/cuda/*.cu)
add_library(fntk_cuda_objects OBJECT ${FNTK_CUDA_SOURCES})
set_target_properties(fntk_cuda_objects PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
    CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}")
target_include_directories(fntk_cuda_objects PRIVATE
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/kernels)
# FNTK_CUDA_CHECK: warnings are errors, and the log holds registers and spills of every kernel for
# scripts/ptxas_table.py.
target_compile_options(fntk_cuda_objects PRIVATE -Xcompiler=-Wall,-Wextra
    "$<$<BOOL:${FNTK_CUDA_CHECK}>:--Werror=all-warnings;-Xptxas=-v>")
# The device rounds every operation of the shared functions as the host does, but for the products of cuda_gram.cu.
set(FNTK_ROUNDED_SOURCES ${FNTK_CUDA_SOURCES})
list(FILTER FNTK_ROUNDED_SOURCES EXCLUDE REGEX "cuda_gram[.]cu$")
set_source_files_properties(${FNTK_ROUNDED_SOURCES} PROPERTIES COMPILE_OPTIONS --fmad=false)
target_link_libraries(fntk_cuda_objects PUBLIC CUDA::cudart_static CUDA::cublas CUDA::cusolver)

# The kernels for compute capability 9.0 alone, whose instructions other targets lack.
set(FNTK_CUDA_OBJECTS $<TARGET_OBJECTS:fntk_cuda_objects>)
set(FNTK_HOPPER FALSE)
set(FNTK_CUDA_TARGETS ${CMAKE_CUDA_ARCHITECTURES})
if(FNTK_CUDA_TARGETS STREQUAL "native")
    set(FNTK_CUDA_TARGETS ${CMAKE_CUDA_ARCHITECTURES_NATIVE})
endif()
if("${FNTK_CUDA_TARGETS}" MATCHES "(^|;)(90a?(-real|-virtual)?|all|all-major)(;|$)")
    set(FNTK_HOPPER TRUE)
    file(GLOB FNTK_HOPPER_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/backend/cuda/hopper/*.cu)
    add_library(fntk_hopper_objects OBJECT ${FNTK_HOPPER_SOURCES})
    set_target_properties(fntk_hopper_objects PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
        CUDA_ARCHITECTURES 90a-real)
    set_source_files_properties(${FNTK_HOPPER_SOURCES} PROPERTIES COMPILE_OPTIONS --fmad=false)
    target_include_directories(fntk_hopper_objects PRIVATE $<TARGET_PROPERTY:fntk_cuda_objects,INCLUDE_DIRECTORIES>)
    target_compile_options(fntk_hopper_objects PRIVATE $<TARGET_PROPERTY:fntk_cuda_objects,COMPILE_OPTIONS>)
    list(APPEND FNTK_CUDA_OBJECTS $<TARGET_OBJECTS:fntk_hopper_objects>)
else()
    add_custom_target(fntk_hopper_objects)  # nothing to build, under the same name
endif()

set(FNTK_CUDA_ENABLED TRUE)
list(JOIN CMAKE_CUDA_ARCHITECTURES ", " FNTK_CUDA_ARCHITECTURES_TEXT)
message(STATUS "fntk: CUDA backend for ${FNTK_CUDA_ARCHITECTURES_TEXT} (CUDA ${CMAKE_CUDA_COMPILER_VERSION})")
