# FntkBLAS::FntkBLAS: CBLAS and LAPACKE from any vendor. The build uses this module, and so does the configuration
# file of an installed static library: both link the same thing.
#     BLA_VENDOR               which BLAS, as in CMake's own FindBLAS (-DBLA_VENDOR=OpenBLAS)
#     FNTK_CBLAS_INCLUDE_DIR   the folder of cblas.h
#     FNTK_LAPACKE_INCLUDE_DIR the folder of lapacke.h
#     FNTK_LAPACKE_LIBRARY     liblapacke, where the vendor keeps it apart from LAPACK
include(FindPackageHandleStandardArgs)

find_package(BLAS QUIET)
find_package(LAPACK QUIET)
find_path(FNTK_CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas openblas-pthread)
find_path(FNTK_LAPACKE_INCLUDE_DIR lapacke.h PATH_SUFFIXES openblas openblas-pthread)
find_library(FNTK_LAPACKE_LIBRARY lapacke)
mark_as_advanced(FNTK_CBLAS_INCLUDE_DIR FNTK_LAPACKE_INCLUDE_DIR FNTK_LAPACKE_LIBRARY)

find_package_handle_standard_args(FntkBLAS
    REQUIRED_VARS BLAS_FOUND LAPACK_FOUND FNTK_CBLAS_INCLUDE_DIR FNTK_LAPACKE_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "fntk needs BLAS, LAPACK, cblas.h and lapacke.h (Debian and Ubuntu: libopenblas-dev liblapacke-dev)")

if(FntkBLAS_FOUND AND NOT TARGET FntkBLAS::FntkBLAS)
    add_library(FntkBLAS::FntkBLAS INTERFACE IMPORTED)
    target_include_directories(FntkBLAS::FntkBLAS SYSTEM
        INTERFACE ${FNTK_CBLAS_INCLUDE_DIR} ${FNTK_LAPACKE_INCLUDE_DIR})
    if(FNTK_LAPACKE_LIBRARY)
        target_link_libraries(FntkBLAS::FntkBLAS INTERFACE ${FNTK_LAPACKE_LIBRARY})
    endif()
    target_link_libraries(FntkBLAS::FntkBLAS INTERFACE LAPACK::LAPACK BLAS::BLAS)
endif()
